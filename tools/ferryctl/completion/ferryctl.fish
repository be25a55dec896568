# SPDX-License-Identifier: MIT
# Completion of ferryctl for fish.

function __ferryctl_nodes
    echo all
    for folder in /sys/devices/system/node/node[0-9]*
        string replace -r '.*/node' '' $folder
    end
end

function __ferryctl_with
    # Whether the command on the line is one of the arguments.
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end

complete -c ferryctl -f
complete -c ferryctl -n __fish_use_subcommand -a list -d 'processes that use Ferry'
complete -c ferryctl -n __fish_use_subcommand -a top -d 'processes and their memory, live'
complete -c ferryctl -n __fish_use_subcommand -a stat -d 'what the memory of a process comes to'
complete -c ferryctl -n __fish_use_subcommand -a maps -d 'a picture of the memory of a process'
complete -c ferryctl -n __fish_use_subcommand -a classify -d 'which mappings Ferry could manage'
complete -c ferryctl -n __fish_use_subcommand -a watch -d 'a line about a process every second'
complete -c ferryctl -n __fish_use_subcommand -a mbind -d 'set on which nodes pages of ranges are to be'
complete -c ferryctl -n __fish_use_subcommand -a migrate -d 'move pages to other nodes, once'
complete -c ferryctl -n __fish_use_subcommand -a migrate-phys -d 'move pages named by physical address'
complete -c ferryctl -n __fish_use_subcommand -a reclaim -d 'have pages leave memory'
complete -c ferryctl -n __fish_use_subcommand -a compact -d 'make huge pages'
complete -c ferryctl -n __fish_use_subcommand -a pin -d 'keep pages where they are'
complete -c ferryctl -n __fish_use_subcommand -a unpin -d 'take away pins that were set by pin'
complete -c ferryctl -n __fish_use_subcommand -a hint -d 'say that pages are needed soon, or not'
complete -c ferryctl -n __fish_use_subcommand -a collect -d 'ask for a collection of heaps'
complete -c ferryctl -n __fish_use_subcommand -a configure -d 'change settings of an arena or a heap'
complete -c ferryctl -n __fish_use_subcommand -l version -d 'show the version'
complete -c ferryctl -s h -l help -d 'show the commands or options'

complete -c ferryctl -n '__ferryctl_with stat maps classify watch mbind migrate migrate-phys reclaim compact pin unpin hint collect configure' -a '(__fish_complete_pids)'
complete -c ferryctl -n '__ferryctl_with list top maps reclaim' -s a -l all -d 'everything'
complete -c ferryctl -n '__ferryctl_with reclaim' -s b -l bytes -x -d 'how much, such as 64M'
complete -c ferryctl -n '__ferryctl_with reclaim hint' -l cold -d 'not needed for a while'
complete -c ferryctl -n '__ferryctl_with top watch' -s c -l count -x -d 'how often'
complete -c ferryctl -n '__ferryctl_with mbind migrate migrate-phys reclaim compact pin unpin hint' -s f -l file -r -F -d 'take ranges from a file'
complete -c ferryctl -n '__ferryctl_with migrate' -l from -x -a '(__ferryctl_nodes)' -d 'only pages that are on these'
complete -c ferryctl -n '__ferryctl_with top watch' -s i -l interval -x -d 'seconds between two looks'
complete -c ferryctl -n '__ferryctl_with list stat maps classify watch mbind migrate migrate-phys reclaim compact pin unpin hint' -s j -l json -d 'for programs to read'
complete -c ferryctl -n '__ferryctl_with mbind' -s m -l mode -x -a 'default bind preferred preferred-many interleave weighted-interleave' -d 'policy'
complete -c ferryctl -n '__ferryctl_with mbind migrate migrate-phys' -s n -l nodes -x -a '(__ferryctl_nodes)' -d 'where to'
complete -c ferryctl -n '__ferryctl_with stat maps migrate migrate-phys reclaim compact' -l outside -d 'do not ask the agent'
complete -c ferryctl -n '__ferryctl_with migrate migrate-phys' -l shared -d 'also pages that others have mapped'
complete -c ferryctl -n '__ferryctl_with maps' -l svg -d 'draw it as SVG'
complete -c ferryctl -n '__ferryctl_with mbind migrate migrate-phys reclaim compact pin unpin hint' -s v -l verbose -d 'tell of each range'
complete -c ferryctl -n '__ferryctl_with maps' -s w -l width -x -d 'cells in a line'
complete -c ferryctl -n '__ferryctl_with mbind' -l home -x -a '(__ferryctl_nodes)' -d 'node to begin with'
complete -c ferryctl -n '__ferryctl_with mbind' -l move -d 'move the pages that are there already'
complete -c ferryctl -n '__ferryctl_with mbind' -l strict -d 'an error where a page stays elsewhere'
complete -c ferryctl -n '__ferryctl_with hint' -l hot -d 'needed soon'
complete -c ferryctl -n '__ferryctl_with collect configure' -s o -l object -x -d 'only this arena or heap'
complete -c ferryctl -n '__ferryctl_with collect' -a 'minor full compact'
