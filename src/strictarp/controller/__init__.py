"""The controller: pools to Service IPs."""
