# SPDX-License-Identifier: MIT
"""Memory of every kind, left alone for a while and looked at again."""
import collections
import hashlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time


def make(n):
    return {
        "dict": {"key %d" % i: [i, str(i) * 3, (i, i + 1)] for i in range(n)},
        "list": [bytes([i % 251]) * (i % 700) for i in range(n)],
        "set": sorted({(i * 7919) % n for i in range(n)}),
        "text": " ".join("word%d" % (i * 31 % 977) for i in range(n)),
    }


def digest(data):
    words = collections.Counter(re.findall(r"word(\d+)", data["text"]))
    whole = json.dumps(
        [
            data["dict"],
            [b.decode("latin-1") for b in data["list"]],
            data["set"],
            sorted(words.items()),
        ],
        sort_keys=True,
    )
    again = json.loads(whole)
    assert again[2] == data["set"]
    return hashlib.sha256(whole.encode()).hexdigest()


def work(seed):
    data = make(4000 + seed)
    time.sleep(0.2)
    return digest(data)


def in_threads():
    results = {}

    def run(i):
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sorted(results.items())


def in_pool(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        return pool.map(work, range(4))


def forked(data):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if digest(data) == digest(make(20000)) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main():
    data = make(20000)
    time.sleep(0.5)
    print("cold", digest(data))
    print("threads", in_threads())
    print("fork", in_pool("fork"))
    print("spawn", in_pool("spawn"))
    print("child", forked(data))
    for i in range(20):
        out = subprocess.run(
            [sys.executable, "-S", "-c", "print(sum(range(%d)))" % i],
            capture_output=True,
            check=True,
        )
        assert int(out.stdout) == sum(range(i))
    del data["dict"]
    time.sleep(0.3)
    data["dict"] = make(20000)["dict"]
    print("again", digest(data))


if __name__ == "__main__":
    main()
