#!/usr/bin/env bash
mkdir -p "$CODER_SCRIPT_DATA_DIR" "$CODER_SCRIPT_BIN_DIR"
echo "listening on ${PORT}"
