"""The node proxy: Services to IPVS and nftables."""
