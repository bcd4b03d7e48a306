"""Who a new workload is: attestors check evidence of its platform, registration entries map that to an identity."""
