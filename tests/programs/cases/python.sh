# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need python3
PYTHONMALLOC=malloc PYTHONHASHSEED=1 PYTHONDONTWRITEBYTECODE=1
export PYTHONMALLOC PYTHONHASHSEED PYTHONDONTWRITEBYTECODE
python3 "$programs/cases/python.py"
