# Scripts for those who work on the tree; nothing here is installed.
