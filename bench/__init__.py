"""What authorization costs: every variant through one Envoy, in one run, side by side. Run `python -m bench --help`."""
