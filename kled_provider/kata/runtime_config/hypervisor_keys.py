"""The keys of `[hypervisor.*]`: one table for all hypervisors, with what each of them takes."""

from __future__ import annotations

from kled_provider.kata.runtime_config.keys import (
    CLH,
    DRAGONBALL,
    FIRECRACKER,
    LOG_LEVELS,
    QEMU,
    U64,
    Key,
    Risk,
    host_file,
    host_strings,
    host_text,
    number,
    processors,
    sector_size,
    strings,
    switch,
    text,
)

_NOT_DRAGONBALL = (QEMU, CLH, FIRECRACKER)
_SHARING = (QEMU, CLH, DRAGONBALL)
_NO_SHARING = {FIRECRACKER: "Firecracker shares no file system with its host"}
_BUILT_IN = {DRAGONBALL: "Dragonball runs inside the shim, and Kata refuses the configuration"}
_NO_JAILER = {
    QEMU: "Kata refuses a configuration that has a jailer for qemu",
    CLH: "Kata refuses a configuration that has a jailer for clh",
}
_REFUSED = {DRAGONBALL: "Kata refuses a configuration for Dragonball that has it"}
_NO_SWAP = {QEMU: "Kata refuses a configuration for qemu that has it; clh and dragonball swap"}
_GIB_SWAP = "needs mkswap on the host, and the file's size and 1 GiB more free"

HYPERVISOR_KEYS: tuple[Key, ...] = (
    # --- programs and boot
    host_file("path", "The VMM's program.", only=_NOT_DRAGONBALL, without=_BUILT_IN),
    host_file("ctlpath", "Its control program.", only=(QEMU, CLH), without=_BUILT_IN),
    host_file(
        "jailer_path", "Firecracker's jailer.", only=(FIRECRACKER, DRAGONBALL), without=_NO_JAILER
    ),
    host_strings(
        "valid_hypervisor_paths",
        "Programs that an annotation may name.",
        only=_NOT_DRAGONBALL,
        without=_BUILT_IN,
    ),
    host_strings(
        "valid_ctlpaths",
        "Control programs that an annotation may name.",
        only=(QEMU, CLH),
        without=_BUILT_IN,
    ),
    host_strings(
        "valid_jailer_paths",
        "Jailers that an annotation may name.",
        only=(FIRECRACKER, DRAGONBALL),
        without=_NO_JAILER,
    ),
    host_file("kernel", "The guest's kernel."),
    host_file("image", "The guest's root image; either this or initrd."),
    host_file(
        "initrd",
        "The guest's initrd; either this or image.",
        only=_SHARING,
        without={FIRECRACKER: "Firecracker boots from an image"},
    ),
    text("kernel_params", "Kernel parameters, separated by spaces; they come last and count."),
    text("kernel_verity_params", "root_hash=, salt=, data_blocks= and so on of the image."),
    text("rootfs_type", "File system of the image.", "ext4", "xfs", "erofs"),
    text(
        "vm_rootfs_driver",
        "How the image is attached.",
        *("virtio-pmem", "virtio-blk-pci", "virtio-blk-ccw", "virtio-blk-mmio", "virtio-scsi"),
    ),
    host_file("firmware", "Firmware of the VM.", only=_NOT_DRAGONBALL, without=_REFUSED),
    text("machine_type", "QEMU's machine type; q35 by default.", only=(QEMU,), without=_REFUSED),
    host_text("machine_accelerators", "Appended to QEMU's -machine as it is.", only=(QEMU,)),
    host_text("cpu_features", 'Appended to "-cpu host" as it is.', only=(QEMU,)),
    # --- size
    processors("default_vcpus", "vCPUs of a VM without limits; 0 means 1."),
    number("default_maxvcpus", "Most vCPUs; 0: as the host. Static sizing does not look at it."),
    processors("overhead_vcpus", "vCPUs that static sizing adds; 0.2 by default."),
    number("default_memory", "Memory of a VM without limits.", unit="MiB"),
    number("default_maxmemory", "Most memory; 0: as the host.", unit="MiB"),
    number("overhead_memory", "Memory that static sizing adds; 32 by default.", unit="MiB"),
    number("memory_slots", "How often memory can be added.", 1, only=_SHARING),
    number("memory_offset", "Space for NVDIMM devices.", most=U64, unit="MiB", only=(QEMU,)),
    switch("enable_mem_prealloc", "Take all of the VM's memory at its start."),
    switch("enable_hugepages", "Back the VM's memory by huge pages."),
    text("hugepage_type", "Where huge pages come from.", "hugetlbfs", "thp"),
    switch(
        "enable_virtio_mem",
        "Add and remove memory by virtio-mem; needs vm.overcommit_memory=1 on the host.",
        only=_SHARING,
    ),
    switch(
        "reclaim_guest_freed_memory",
        "Give memory that the guest frees back to the host (free page reporting).",
        only=_SHARING,
        without={FIRECRACKER: "Kata does not implement it for Firecracker"},
    ),
    switch(
        "enable_guest_swap",
        f"Give the guest a swap file; {_GIB_SWAP}.",
        only=(CLH, DRAGONBALL),
        without=_NO_SWAP,
    ),
    host_text("guest_swap_path", "Directory of the swap files.", only=(CLH, DRAGONBALL)),
    number(
        "guest_swap_size_percent",
        "Size of the swap file, in percent of the VM's memory.",
        1,
        only=(CLH, DRAGONBALL),
    ),
    number(
        "guest_swap_create_threshold_secs",
        "Wait before the swap file is made.",
        most=U64,
        unit="seconds",
        only=(CLH, DRAGONBALL),
    ),
    # --- sharing files
    text(
        "shared_fs",
        "How directories of the host are shared.",
        *("virtio-fs", "inline-virtio-fs", "virtio-fs-nydus", "none"),
    ),
    host_file("virtio_fs_daemon", "virtiofsd.", only=_SHARING, without=_NO_SHARING),
    text(
        "virtio_fs_cache",
        "What the guest caches.",
        *("never", "auto", "always"),
        only=_SHARING,
        without=_NO_SHARING,
    ),
    number(
        "virtio_fs_cache_size",
        "Window of DAX; more than 0 turns DAX on.",
        unit="MiB",
        only=_SHARING,
        without=_NO_SHARING,
    ),
    switch("virtio_fs_is_dax", "Map files directly.", only=_SHARING, without=_NO_SHARING),
    number("virtio_fs_queue_size", "Queue of virtio-fs.", 1, only=_SHARING, without=_NO_SHARING),
    host_strings(
        "virtio_fs_extra_args", "Arguments of virtiofsd.", only=_SHARING, without=_NO_SHARING
    ),
    host_strings(
        "valid_virtio_fs_daemon_paths",
        "Programs that an annotation may name.",
        only=_SHARING,
        without=_NO_SHARING,
    ),
    # --- disks
    switch("disable_block_device_use", "Share a root file system that is a disk as files."),
    text(
        "block_device_driver",
        "How disks are attached.",
        *("virtio-blk-pci", "virtio-blk-ccw", "virtio-blk-mmio", "virtio-scsi", "virtio-pmem"),
    ),
    text(
        "block_device_aio",
        "How QEMU does a disk's I/O.",
        *("threads", "native", "io_uring"),
        only=(QEMU,),
    ),
    switch("block_device_cache_set", "Whether the next two are passed on."),
    switch("block_device_cache_direct", "Open disks with O_DIRECT."),
    switch("block_device_cache_noflush", "Ignore the guest's flushes: data may be lost."),
    sector_size("block_device_logical_sector_size", "Logical sector of disks in bytes; 0: theirs."),
    sector_size("block_device_physical_sector_size", "Physical sector in bytes; 0: theirs."),
    number("queue_size", "Length of a disk's queue.", 1),
    number("num_queues", "Queues of a disk.", 1),
    *(
        number(
            f"disk_rate_limiter_{unit}_{what}",
            f"{words} of a disk; 0: no limit.",
            most=U64,
            only=(CLH, FIRECRACKER),
        )
        for unit, what, words in (
            ("bw", "max_rate", "Bits a second"),
            ("bw", "one_time_burst", "Bits in one burst"),
            ("ops", "max_rate", "Operations a second"),
            ("ops", "one_time_burst", "Operations in one burst"),
        )
    ),
    switch(
        "enable_iothreads", "Do disk I/O in threads of its own.", only=(QEMU, CLH), without=_REFUSED
    ),
    number("indep_iothreads", "How many of these threads.", only=(QEMU,)),
    switch("enable_vhost_user_store", "Use disks of vhost-user.", only=(QEMU, CLH)),
    host_text("vhost_user_store_path", "Directory of vhost-user's sockets.", only=(QEMU, CLH)),
    host_strings(
        "valid_vhost_user_store_paths", "Directories that an annotation may name.", only=(QEMU, CLH)
    ),
    # --- network and devices
    switch("disable_vhost_net", "Do without /dev/vhost-net.", only=(QEMU, DRAGONBALL)),
    number("network_queues", "Queues of a network device.", 1, 256),
    number(
        "rx_rate_limiter_max_rate",
        "Bits a second to the guest; 0: no limit.",
        most=U64,
        only=(QEMU, FIRECRACKER),
    ),
    number(
        "tx_rate_limiter_max_rate",
        "Bits a second from the guest; 0: no limit.",
        most=U64,
        only=(QEMU, FIRECRACKER),
    ),
    number("default_bridges", "PCI bridges.", 0, 5, only=(QEMU, CLH), without=_REFUSED),
    text("cold_plug_vfio", "Port of devices that are passed through.", "no-port", "root-port"),
    number("pcie_root_port", "PCIe root ports.", 0, 16, only=(QEMU, CLH), without=_REFUSED),
    number("pcie_switch_port", "PCIe switch ports.", 0, 16, only=(QEMU, CLH), without=_REFUSED),
    switch("enable_iommu", "Give the guest an IOMMU.", only=(QEMU, CLH), without=_REFUSED),
    switch("enable_iommu_platform", "Put devices behind it.", only=(QEMU, CLH), without=_REFUSED),
    host_file("entropy_source", "Where the guest's entropy comes from."),
    host_strings("valid_entropy_sources", "Sources that an annotation may name."),
    host_text("guest_hook_path", "Directory of OCI hooks within the guest's image."),
    # --- confinement
    switch(
        "rootless",
        "Run the VMM as a user of its own.",
        only=(QEMU, CLH),
        without=_REFUSED,
        risk=Risk.HOST,
    ),
    host_text("seccomp_sandbox", "Appended to QEMU's -sandbox as it is.", only=(QEMU,)),
    switch("disable_seccomp", "Run the VMM without its seccomp filter.", risk=Risk.HOST),
    switch("disable_selinux", "Run the VMM without SELinux's confinement.", risk=Risk.HOST),
    switch("disable_guest_selinux", "Do not use SELinux within the guest."),
    host_text("selinux_label", "SELinux label of the VMM."),
    switch("confidential_guest", "Boot a confidential VM.", only=(QEMU, CLH)),
    switch("sev_snp_guest", "Boot it by SEV-SNP.", only=(QEMU,)),
    text("initdata", "Initial data of a confidential VM."),
    text("snp_id_block", "Identity block of SEV-SNP, in base64.", only=(QEMU,)),
    text("snp_id_auth", "Authentication of that block, in base64.", only=(QEMU,)),
    number("snp_guest_policy", "Policy of SEV-SNP.", most=U64, only=(QEMU,)),
    number(
        "tdx_quote_generation_service_socket_port", "Port of TDX's quotes.", 0, 65535, only=(QEMU,)
    ),
    switch("disable_image_nvdimm", "Attach the image as a disk.", only=_SHARING),
    switch("disable_nesting_checks", "Do not look whether this host is a VM.", only=_SHARING),
    switch("disable_nested_virtualization", "Hide virtualisation from the guest.", only=(CLH,)),
    # --- finding out
    switch("enable_debug", "Log more."),
    text("log_level", "Level of the log.", *LOG_LEVELS),
    host_text("extra_monitor_socket", "hmp, qmp or qmp-pretty.", only=(QEMU,)),
    host_text("guest_memory_dump_path", "Where a crashed guest's memory is written.", only=(QEMU,)),
    switch("guest_memory_dump_paging", "Dump by the guest's page tables.", only=(QEMU,)),
    strings("enable_annotations", "Regular expressions of annotations that are taken."),
)
