"""ARP: frames, raw sockets, probing."""
