"""A fuzzer of what meets an upload first: vet, and analyse if that passes."""
