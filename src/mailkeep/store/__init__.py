"""One user's mail: Maildir, vault, index, marker and journal behind one facade."""
