"""A local server with the REST and gRPC interfaces of TensorFlow Serving, and a page to look at films."""
