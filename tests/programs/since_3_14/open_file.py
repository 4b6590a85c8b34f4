"""An open file, as an argument."""

import multiprocessing
import tempfile


def write(file):
    file.write("written")
    file.flush()


if __name__ == "__main__":
    with tempfile.TemporaryFile("w+") as file:
        child = multiprocessing.Process(target=write, args=(file,))
        child.start()
        child.join()
        file.seek(0)
        print("file has", file.read())
