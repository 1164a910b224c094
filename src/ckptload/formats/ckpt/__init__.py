"""The .ckpt format: protobuf records, their index, and the CRC trailer."""
