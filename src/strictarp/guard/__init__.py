"""strictARP as a state: scopes, the journal, drift, and the way back."""
