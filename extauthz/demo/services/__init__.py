"""The small services behind the Envoys, each in a process of its own: `python -m extauthz.demo.services NAME FILE`."""
