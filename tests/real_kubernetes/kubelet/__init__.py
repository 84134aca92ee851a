"""Runs the containers of the real control plane's pods as processes of this machine; fuller than the emulator's."""
