"""What tests stand on: servers, databases, clients and clocks, and helpers of several test modules.

Test modules import from here, and never from each other.
"""
