"""A cluster on one machine: API server, namespaces, virtual machine, scenarios."""
