"""Pure TensorFlow functions on one example: decode, resize, resample, log-mel, pad; on a batch: augment.

Training maps them over tf.data and the export runs the same functions, so nothing here reads Python state or draws
random numbers that a `seed` does not fix.
"""

from mmkeras.features.ops import common as common
from mmkeras.features.ops import image as image
from mmkeras.features.ops import sound as sound
