"""An API server for tests and the lab: Kubernetes' rules for storing, listing and watching objects.

No admission, no authentication, no controllers; the kinds that strictarp uses.
"""
