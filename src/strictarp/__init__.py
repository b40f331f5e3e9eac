"""strictarp: bare-metal Kubernetes LoadBalancer IPs that exactly one node answers for."""

__version__ = "0.1.0"
