"""Envoy's secret discovery service: an SVID and trust bundles, pushed whenever they change."""
