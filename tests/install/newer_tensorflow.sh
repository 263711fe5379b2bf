#!/usr/bin/env bash
# Installs by the commands of docs/installing.md for a newer TensorFlow, and runs tests with it.
#
# usage: bash tests/install/newer_tensorflow.sh [FOLDER]
#
# FOLDER keeps the environment and skips installing where it has one; without it a temporary folder
# is used and removed. Needs a network and 3 GB; takes half an hour on two busy cores.
# Not part of `make check`.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ $# -gt 0 ]; then
  folder="$1"
else
  folder="$(mktemp -d)"
  trap 'rm -rf "$folder"' EXIT
fi
if [ ! -x "$folder/bin/pytest" ]; then
  "${PYTHON:-python3}" -m venv "$folder"
  PATH="$folder/bin:$PATH"
  pip install --quiet --upgrade pip
  # The only block of commands on the page.
  sed -n '/^```bash$/,/^```$/{/^```/!p}' docs/installing.md | bash -euo pipefail
  pip install --quiet "pytest>=8"
fi
cd tests
TF_CPP_MIN_LOG_LEVEL=3 "$folder/bin/python" - <<'PYTHON'
import perfnet_tf
import tensorflow as tf
import tf_keras

print(f"perfnet_tf {perfnet_tf.__version__}, TensorFlow {tf.__version__}, tf-keras {tf_keras.__version__}")
assert tf.__version__.startswith("2.21.") and tf_keras.__version__.startswith("2.21.")
PYTHON
"$folder/bin/pytest" --quiet -c ../setup.cfg --rootdir=.. \
  test_public_api.py models/test_resnet3d.py models/test_s3d.py models/test_conformance.py \
  saved_model/test_export.py saved_model/test_inference.py training/test_schedules.py training/test_strategy.py \
  training/test_trainer.py
