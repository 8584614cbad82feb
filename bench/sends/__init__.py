"""What the driver can be told to do, one module for each protocol. All of it runs in the driver's own process
(`bench.apart`), takes and gives JSON, and times only what lies between the first request and the last answer.
"""
