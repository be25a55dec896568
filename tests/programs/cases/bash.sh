# SPDX-License-Identifier: MIT
# moves
. "$programs/lib.sh"
need bash
bash "$programs/cases/bash.bash"
