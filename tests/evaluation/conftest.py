import pathlib
import sys

# Slow references and data writers that several rooms share.
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "reference"))
