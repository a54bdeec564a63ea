"""Makes digits.npz and digits.onnx; needs scikit-learn (requirements-dev.lock).

The data are the 1,797 8x8 images of the UCI optical digits as scikit-learn ships them; a fifth is the test split.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent


def main() -> None:
    """Write both files beside this script."""
    torch.manual_seed(0)
    images, labels = (np.asarray(a) for a in load_digits(return_X_y=True))
    x = images.astype(np.uint8).reshape(-1, 1, 8, 8)
    x_train, x_test, y_train, y_test = map(
        np.asarray, train_test_split(x, labels, test_size=0.2, random_state=0, stratify=labels)
    )
    np.savez_compressed(HERE / "digits.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    net = train(torch.from_numpy(x_train).float(), torch.from_numpy(y_train))
    torch.onnx.export(
        net.eval(),
        (torch.zeros(2, 1, 8, 8),),
        HERE / "digits.onnx",
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )
    print(f"top-1 on the test split: {accuracy(net, torch.from_numpy(x_test).float(), y_test):.4f}")


def train(x: torch.Tensor, y: torch.Tensor) -> nn.Sequential:
    """A small convolutional net on pixel values 0 to 16, with random shifts by one pixel. x: (N, 1, 8, 8)."""
    net = nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(1),
            conv1=nn.Conv2d(1, 32, 3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 32, 3, padding=1),
            relu2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(512, 128),
            relu3=nn.ReLU(),
            fc2=nn.Linear(128, 10),
        )
    )
    epochs, size = 60, 64
    optimizer = torch.optim.Adam(net.parameters(), 2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, epochs * (len(y) // size))
    for _ in range(epochs):
        for index in torch.randperm(len(y))[: len(y) // size * size].split(size):
            dx, dy = (int(n) for n in torch.randint(-1, 2, (2,)))
            loss = F.cross_entropy(net(torch.roll(x[index], (dy, dx), (2, 3))), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net


def accuracy(net: nn.Module, x: torch.Tensor, y: np.ndarray) -> float:
    """Share of the examples whose largest output is the label."""
    with torch.no_grad():
        return float((net(x).argmax(1).numpy() == y).mean())


if __name__ == "__main__":
    main()
