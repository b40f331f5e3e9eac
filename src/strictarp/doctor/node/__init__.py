"""What a node shows to root: read on the node, sent as one JSON document, judged by checks."""
