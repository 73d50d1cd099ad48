"""The node of one authority: it signs the authority's documents, delivers them, and takes in those of its partners.

What bytes mean and whom to believe is decided in `kpmsg`; here are the processes, disks and networks around it. Start
reading at `node`; `assembly` shows how the parts are put together, `cli` what an operator can ask for. This package is a
program, not a library: nothing in it is promised to other programs, which have its HTTP API and `kpmsg`.
"""
