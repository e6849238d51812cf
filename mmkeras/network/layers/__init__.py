"""Keras layers that several encoders, fusions or heads share."""

from mmkeras.network.layers import answers as answers
from mmkeras.network.layers import chain as chain
from mmkeras.network.layers import joining as joining
from mmkeras.network.layers import nested as nested
from mmkeras.network.layers import pictures as pictures
from mmkeras.network.layers import time as time
