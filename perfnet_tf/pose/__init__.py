"""Human pose: estimators that find people, and the renderings of PERF-Net Sec. 3.1."""
