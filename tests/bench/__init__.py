"""`python -m tests.bench`: what one round trip costs, beside a bare script that does the same work with none of our code."""
