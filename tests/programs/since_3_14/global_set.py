"""A global that is set before the start."""

import multiprocessing

settings = {"level": "unset"}


def work():
    print("level", settings["level"])


if __name__ == "__main__":
    settings["level"] = "high"
    child = multiprocessing.Process(target=work)
    child.start()
    child.join()
