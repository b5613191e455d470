"""The operator's command `fleet`: looks at the fleet and acts on it, from any of its hosts."""
