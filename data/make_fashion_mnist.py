"""Pack the 10,000 test images of Fashion-MNIST into one small file.

    python data/make_fashion_mnist.py FOLDER

FOLDER holds the original t10k-*-ubyte.gz files, for example those of Debian's
package dataset-fashion-mnist in /usr/share/datasets/fashion-mnist.
"""

import sys
from pathlib import Path

import numpy as np

from ddim_edu.data import SHIPPED, fashion_mnist

images, labels = fashion_mnist("test", folder=sys.argv[1])
np.savez_compressed(
    Path(__file__).with_name(SHIPPED),
    images=((images[:, 0] + 1) * 127.5).round().byte().numpy(),
    labels=labels.byte().numpy(),
)
