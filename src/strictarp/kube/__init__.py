"""Kubernetes objects, the API client and the watch cache."""
