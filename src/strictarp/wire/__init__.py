"""Who answers for the IPs of a cluster: asking for all, listening over time, and naming the answerers."""
