"""What is wrong with a cluster's Layer 2: checks over what the cluster, its nodes and the wire show."""
