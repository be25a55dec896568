# Man pages, one per line, section by suffix.
