"""ARP: frames, raw sockets, probing, the kernel's decision as a function, and what strictARP would break."""
