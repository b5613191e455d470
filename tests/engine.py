"""Ansible's plugins, for tests that use its engine."""

from ansible.plugins.loader import init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig


def load_plugins() -> None:
    """Once for a process: Ansible warns of a second time."""
    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader()
