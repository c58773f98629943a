"""Train a small network on real handwritten digits: an example job for gpupool.

The data are the 1,797 scanned digits of UCI's "Optical Recognition of Handwritten Digits" that come with scikit-learn
(Debian: python3-sklearn). Each epoch prints a line and reports progress; the result holds the accuracy on digits that
the network never saw; the model is left as an artifact:

    model.npz    weights and biases; `python3 digits.py --predict model.npz` measures it again

Runs without gpupool too, and then leaves result.json, progress and model.npz in the current directory.
"""
import argparse
import json
import os
import time

import numpy
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HELD_OUT = 0.4


def digits(seed):
    """Images of 8 × 8 grey levels in 0…1 and their digits: to learn from, and held out."""
    data = load_digits()
    images = data.images / 16.0
    return train_test_split(images, data.target, test_size=HELD_OUT, random_state=seed, stratify=data.target)


def shifted(images, labels):
    """Each image also moved by one pixel in each direction: nine times the data, and a digit stays what it is."""
    padded = numpy.pad(images, ((0, 0), (1, 1), (1, 1)))
    moved = [padded[:, y:y + 8, x:x + 8].reshape(-1, 64) for y in range(3) for x in range(3)]
    return numpy.concatenate(moved), numpy.tile(labels, 9)


def predict(model, images):
    """What the saved network takes each image for: plain numpy, no trace of how it was trained."""
    values = images.reshape(-1, 64)
    for i in range(int(model["layers"])):
        values = values @ model["weight%d" % i] + model["bias%d" % i]
        if i + 1 < int(model["layers"]):
            values = numpy.maximum(values, 0)
    return values.argmax(axis=1)


def report(fraction, message):
    with open(os.environ.get("GPUPOOL_PROGRESS", "progress"), "a") as file:
        file.write("%.4f %s\n" % (fraction, message))


def train(epochs, seed):
    began = time.monotonic()
    images, held_images, labels, held_labels = digits(seed)
    pixels, targets = shifted(images, labels)
    network = MLPClassifier((96, 48), batch_size=64, learning_rate_init=0.001, random_state=seed)
    print("training on %d images of %d digits, %d held out" % (len(pixels), len(labels), len(held_labels)))
    for epoch in range(1, epochs + 1):
        network.partial_fit(pixels, targets, classes=range(10))
        accuracy = network.score(held_images.reshape(-1, 64), held_labels)
        print("epoch %d/%d  loss %.4f  accuracy %.4f" % (epoch, epochs, network.loss_, accuracy), flush=True)
        report(epoch / epochs, "epoch %d of %d, accuracy %.4f" % (epoch, epochs, accuracy))
    path = os.path.join(os.environ.get("GPUPOOL_OUT", "."), "model.npz")
    layers = {"layers": len(network.coefs_), "seed": seed}
    for i, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_)):
        layers.update({"weight%d" % i: weight, "bias%d" % i: bias})
    numpy.savez_compressed(path, **layers)
    accuracy = float((predict(numpy.load(path), held_images) == held_labels).mean())
    return {"accuracy": round(accuracy, 4), "epochs": epochs, "seed": seed, "samples": len(labels),
            "model": os.path.basename(path), "seconds": round(time.monotonic() - began, 2)}


def main():
    parser = argparse.ArgumentParser(description="Train a small network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--predict", metavar="MODEL", help="measure a saved model on the digits that it never saw")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")
    if args.predict:
        model = numpy.load(args.predict)
        _, images, _, labels = digits(int(model["seed"]))
        print("accuracy %.4f" % (predict(model, images) == labels).mean())
        return
    result = train(args.epochs, args.seed)
    with open(os.environ.get("GPUPOOL_RESULT", "result.json"), "w") as file:
        json.dump(result, file)
    print("accuracy %(accuracy).4f after %(epochs)d epochs in %(seconds).1f s" % result)


if __name__ == "__main__":
    main()
