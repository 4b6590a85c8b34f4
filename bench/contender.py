"""One contender, in a process of its own that has loaded nothing else: for each line it reads, one start and join.

    python bench/contender.py LIBRARY METHOD MIB

It prints the seconds that each took. MIB is how much memory it holds, touched.
"""

if __name__ == "__main__":
    from serving import serve

    serve()
