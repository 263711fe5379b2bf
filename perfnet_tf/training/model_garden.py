"""What runs of the Model Garden (tf-models-official) besides tests, imported in this one place.

Both modules need TensorFlow, tf-keras, gin-config and PyYAML only.
"""

from official.common.distribute_utils import get_distribution_strategy
from official.modeling.optimization.lr_schedule import CosineDecayWithOffset, LinearWarmup

__all__ = ["CosineDecayWithOffset", "LinearWarmup", "get_distribution_strategy"]
