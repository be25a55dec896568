# ferry-bench, installed; never part of `make check'.
