"""Which test is there for a module that has no test file of its own.

A module `kled_coord/front/head.py` is tested by `tests/coord/front/test_head.py`. What these do
shows only together with others: test file -> modules, each by name, so that whoever adds one says
where it is tested.
"""

TESTED_BY = {
    "agent/control/test_link.py": "kled_agent/control/key_uses",
    "agent/scripts/test_login.py": "kled_agent/machine/login_path",
    "agent/scripts/test_units.py": "kled_agent/coder",
    "client/stat/test_cgroup.py": "kled_client/cli/stat",
    "agent/scripts/test_service.py": """
        kled_agent/scripts/metadata kled_agent/scripts/running
        kled_agent/scripts/runs kled_agent/scripts/reporting
    """,
    "agent/scripts/test_login_wait.py": "kled_agent/ssh/login_wait",
    "agent/sessions/holder/test_process.py": """
        kled_agent/sessions/directory kled_agent/sessions/holder/held
        kled_agent/sessions/holder/link kled_agent/sessions/holder/loop
        kled_agent/sessions/holder/place kled_agent/sessions/holder/shell
    """,
    "agent/sessions/holder/test_redraw.py": """
        kled_agent/sessions/holder/picture kled_agent/sessions/holder/plan
    """,
    "agent/sessions/test_programs.py": """
        kled_agent/sessions/descriptors kled_agent/sessions/program kled_agent/sessions/terminal
    """,
    "agent/ssh/test_forwards.py": """
        kled_agent/ssh/forwards/forward kled_agent/ssh/forwards/unix_sockets
        kled_agent/ssh/subsystems/sftp_server
    """,
    "agent/ssh/test_keys.py": "kled_agent/ssh/guess kled_agent/ssh/service",
    "agent/ssh/test_login.py": """
        kled_agent/ssh/asyncio_host kled_agent/ssh/identity kled_agent/ssh/server
    """,
    "agent/ssh/test_named.py": """
        kled_agent/ssh/subsystems/channel kled_agent/ssh/subsystems/session_control
    """,
    "agent/ssh/test_other_user.py": """
        kled_agent/ssh/forwards/user_socket_process kled_agent/ssh/forwards/user_sockets
    """,
    "agent/ssh/test_sessions.py": """
        kled_agent/ssh/environment kled_agent/ssh/session kled_agent/ssh/subsystems/choice
    """,
    "agent/supervisor/test_running.py": "kled_agent/supervisor/__main__",
    "agent/machine/test_orphans.py": "kled_agent/machine/descendants",
    "agent/test_small.py": "kled_agent/memory/sampler",
    "client/copy/test_copying.py": """
        kled_client/cli/cp kled_sync/files/writing/staging_directory
    """,
    "client/doctor/test_probe.py": "kled_client/cli/doctor kled_client/doctor/examination",
    "client/forward/test_serve.py": """
        kled_client/forward/hold kled_client/forward/link kled_client/forward/view
    """,
    "client/forward/test_service.py": "kled_client/cli/up",
    "client/openssh/test_block.py": "kled_client/cli/ssh_cert",
    "client/ssh/test_connection.py": """
        kled_client/account/certificate kled_client/account/ssh_keys kled_client/cli/ping
        kled_client/cli/shell kled_client/cli/status kled_client/ssh/channel
        kled_client/ssh/resumable kled_client/ssh/session_control kled_client/terminal/interrupt
        kled_client/terminal/session kled_client/terminal/tty
    """,
    "client/sync/test_flush.py": "kled_client/cli/sync_flush",
    "client/sync/test_background.py": "kled_client/sync/sessions kled_client/sync/supervise",
    "client/sync/test_place.py": """
        kled_client/sync/copy kled_client/sync/itemize kled_client/sync/rules
        kled_sync/decide/target
    """,
    "client/test_builds.py": """
        kled_client/cli/builds kled_client/cli/plan kled_client/cli/state kled_client/cli/update
        kled_client/cli/update_all
    """,
    "client/test_audit.py": "kled_client/cli/audit kled_client/cli/times",
    "client/test_open.py": """
        kled_client/cli/api kled_client/cli/dotfiles kled_client/cli/files kled_client/cli/open
        kled_client/cli/open_app
    """,
    "client/api/test_client.py": "kled_client/api/failures kled_client/api/requests",
    "client/test_cancel.py": "kled_client/cli/cancel",
    "client/test_cli.py": """
        kled_client/__main__ kled_client/account/credentials kled_client/account/files
        kled_client/api/build_log kled_client/api/models kled_client/cli/agent_token
        kled_client/cli/config_ssh kled_client/cli/context kled_client/cli/forward
        kled_client/cli/login kled_client/cli/logs kled_client/cli/version
        kled_client/cli/lifecycle kled_client/cli/workspace kled_client/report
    """,
    "client/test_command_line.py": """
        kled_client/cli/help kled_client/cli/lazy kled_client/cli/main kled_client/cli/option_group
        kled_client/cli/output_option kled_client/cli/template
    """,
    "client/test_completion.py": "kled_client/cli/completion kled_client/cli/names",
    "client/test_grammar.py": """
        kled_client/account/endpoint kled_client/copy/plan kled_client/terminal/escapes
    """,
    "client/test_keys.py": """
        kled_client/cli/key kled_client/cli/known_hosts kled_client/stream/listen
    """,
    "client/test_messages.py": "kled_client/cli/confirming kled_client/cli/profile",
    "client/test_output.py": "kled_client/cli/token kled_client/tables",
    "client/test_parameters.py": """
        kled_client/cli/parameters kled_client/cli/questions kled_client/cli/template_push
    """,
    "client/test_show.py": "kled_client/cli/notes",
    "client/test_stream.py": """
        kled_client/account/http kled_client/cli/stream kled_client/stream/command
        kled_client/stream/fdpass kled_client/stream/stdio kled_client/stream/websocket
    """,
    "coord/api/test_api.py": """
        kled_coord/api/agent kled_coord/api/answers kled_coord/api/app kled_coord/api/audit
        kled_coord/api/auth kled_coord/api/bodies kled_coord/api/builds kled_coord/api/docs
        kled_coord/api/errors kled_coord/api/guard kled_coord/api/health kled_coord/api/ssh
        kled_coord/api/template_answers kled_coord/api/templates kled_coord/api/tfstate
        kled_coord/api/tokens kled_coord/api/user_answers kled_coord/api/users
        kled_coord/api/workspaces
        kled_coord/workspaces/agents
    """,
    "coord/api/test_bundles.py": "kled_coord/api/edge",
    "coord/api/test_server.py": "kled_coord/front/asgi kled_coord/metrics",
    "coord/api/test_texts.py": "kled_coord/api/leaving",
    "coord/builds/running/test_runs.py": """
        kled_coord/builds/job kled_coord/builds/runner kled_coord/builds/running/jobs
        kled_coord/builds/running/lease kled_coord/builds/running/worker
    """,
    "coord/builds/states/test_applied.py": "kled_coord/builds/states/instances",
    "coord/builds/test_builds.py": """
        kled_coord/builds/logs kled_coord/builds/queue kled_coord/builds/service
        kled_coord/builds/states/backend kled_coord/changes kled_coord/services
        kled_coord/store/agents kled_coord/store/builds
    """,
    "coord/builds/test_outputs.py": "kled_coord/builds/running/leftovers",
    "coord/builds/test_parameters.py": """
        kled_coord/builds/choosing kled_coord/store/versions kled_coord/templates/upgrade
    """,
    "coord/builds/test_queue_position.py": "kled_coord/store/queue_order",
    "coord/builds/test_pruning.py": "kled_coord/store/pruning kled_coord/store/states",
    "coord/builds/states/test_versions.py": "kled_coord/api/states kled_coord/builds/states/sealed",
    "coord/builds/test_renaming.py": "kled_coord/store/renaming",
    "coord/builds/test_timings.py": "kled_coord/store/timings",
    "coord/builds/test_transitions.py": "kled_coord/workspaces/lifecycle",
    "coord/ca/test_certificates.py": "kled_coord/ca/keys kled_coord/store/ssh_ca",
    "coord/control/test_link.py": "kled_coord/control/keys",
    "coord/control/test_registry.py": "kled_coord/workspaces/presence",
    "coord/front/test_http11.py": "kled_coord/front/mailbox kled_coord/front/refusing",
    "coord/front/test_listener.py": "kled_coord/front/tls",
    "coord/identity/test_endings.py": """
        kled_coord/identity/audit kled_coord/identity/grants kled_coord/identity/logins
        kled_coord/identity/openings kled_coord/identity/service kled_coord/identity/user_edits
        kled_coord/store/audit
    """,
    "coord/identity/test_full_disk.py": "kled_coord/identity/secrets",
    "coord/identity/test_identity.py": """
        kled_coord/identity/passwords kled_coord/identity/users kled_coord/store/known_addresses
        kled_coord/store/tokens
    """,
    "coord/identity/test_keys.py": """
        kled_coord/api/keys kled_coord/store/user_keys kled_coord/workspaces/key_holders
    """,
    "coord/offload/test_process.py": "kled_coord/offload/layer",
    "coord/policy/test_decide.py": "kled_coord/policy/actions kled_coord/policy/roles",
    "coord/relay/rendezvous/test_broker.py": "kled_coord/relay/rendezvous/meeting",
    "coord/relay/splice/test_pool.py": "kled_coord/relay/splice/processes kled_coord/sidecars/pool",
    "coord/relay/splice/test_process.py": """
        kled_coord/environment kled_coord/relay/splice/traffic kled_coord/sidecars/process
    """,
    "coord/relay/splice/test_splicer.py": "kled_coord/sidecars/loop",
    "coord/scripts/test_service.py": """
        kled_coord/api/scripts kled_coord/scripts/following kled_coord/scripts/view
        kled_coord/store/scripts kled_coord/workspaces/specs
    """,
    "coord/store/test_engine.py": """
        kled_coord/store/errors kled_coord/store/migrate kled_coord/store/migrations/env
        kled_coord/store/records kled_coord/store/schema kled_coord/store/template_records
    """,
    "coord/store/test_races.py": """
        kled_coord/store/build_changes kled_coord/store/logins kled_coord/store/standing
        kled_coord/store/templates kled_coord/store/user_changes kled_coord/store/users
        kled_coord/store/workspaces
    """,
    "coord/workspaces/test_search.py": "kled_coord/store/filters",
    "coord/workspaces/test_sessions.py": "kled_coord/store/sessions",
    "coord/templates/test_declarations.py": """
        kled_coord/terraform/source/blocks kled_coord/terraform/source/hcl
    """,
    "coord/templates/test_opening.py": "kled_coord/templates/archive_process",
    "coord/templates/test_questions.py": """
        kled_coord/builds/running/variables kled_coord/templates/choosing
        kled_coord/workspaces/parameters
    """,
    "coord/templates/test_service.py": "kled_coord/templates/edits",
    "coord/terraform/test_evaluator.py": "kled_coord/builds/running/evaluation_host",
    "coord/terraform/process/test_binary.py": "kled_coord/terraform/process/embedded",
    "coord/terraform/test_run.py": """
        kled_coord/terraform/output/errors kled_coord/terraform/session
    """,
    "coord/test_program.py": """
        kled_coord/__main__ kled_coord/cli kled_coord/setting_up kled_coord/sources
        kled_coord/stopping
    """,
    "coord/test_rotation.py": "kled_coord/store/resealing",
    "e2e/test_builds.py": "kled_client/cli/limit",
    "e2e/test_containerd.py": "kled_provider/kata/serving/entry kled_provider/kata/serving/here",
    "e2e/test_endings.py": "kled_client/cli/user",
    "e2e/test_forward_command.py": """
        kled_agent/ssh/subsystems/ports kled_agent/ssh/subsystems/udp kled_client/forward/ssh
    """,
    "e2e/test_forwards.py": "kled_agent/tcp",
    "e2e/test_lifecycle.py": """
        kled_agent/__main__ kled_agent/cli kled_agent/machine/systemd kled_coord/planes
    """,
    "e2e/test_network.py": "kled_coord/relay/rendezvous/plane",
    "e2e/test_plans.py": "kled_coord/api/build_answers kled_coord/terraform/previewing",
    "e2e/test_scripts.py": "kled_client/cli/readiness",
    "e2e/test_ssh.py": "kled_agent/machine/users",
    "e2e/test_sync.py": """
        kled_agent/ssh/subsystems/sync_server kled_client/cli/sync kled_client/cli/sync_copy
        kled_client/sync/reach kled_client/sync/versions
    """,
    "e2e/test_terminals.py": "kled_client/cli/session",
    "provider/coder/test_templates.py": """
        kled_provider/coder/data kled_provider/coder/provider kled_provider/coder/resources
    """,
    "provider/containerd/test_api.py": """
        kled_provider/containerd/caller kled_provider/containerd/content
        kled_provider/containerd/daemon kled_provider/containerd/images
        kled_provider/containerd/types
    """,
    "provider/grpc/test_server.py": "kled_provider/grpc/connection kled_provider/grpc/status",
    "provider/kata/test_containers.py": """
        kled_provider/containerd/containers kled_provider/containerd/events
        kled_provider/containerd/snapshots kled_provider/containerd/tasks
        kled_provider/kata/container/declared/blocks kled_provider/kata/container/making/checking
        kled_provider/kata/container/clearing kled_provider/kata/container/making/directory
        kled_provider/kata/container/making/hostfiles kled_provider/kata/container/identity
        kled_provider/kata/container/making/joining
        kled_provider/kata/container/making/job kled_provider/kata/container/place
        kled_provider/kata/container/making/program kled_provider/kata/container/resource
        kled_provider/kata/container/declared/schema
        kled_provider/kata/machine
    """,
    "provider/kata/network/test_attaching.py": """
        kled_provider/kata/network/bridges kled_provider/kata/network/namespaces
        kled_provider/kata/network/plugins kled_provider/kata/network/settings
        kled_provider/kata/network/stored
    """,
    "provider/kata/output/test_keeping.py": "kled_provider/kata/output/reaching",
    "provider/kata/network/test_resource.py": "kled_provider/kata/network/schema",
    "provider/kata/test_leftovers.py": """
        kled_provider/kata/container/finding kled_provider/kata/creators
    """,
    "provider/kata/volume/test_holding.py": """
        kled_provider/kata/volume/mounts kled_provider/kata/volume/stored
    """,
    "provider/kata/volume/test_populate.py": "kled_provider/kata/volume/tree",
    "provider/kata/volume/test_resource.py": "kled_provider/kata/volume/schema",
    "provider/kata/test_images.py": """
        kled_provider/kata/image/archive kled_provider/kata/image/sources
        kled_provider/kata/image/holders kled_provider/kata/image/manifest
        kled_provider/kata/image/named kled_provider/kata/image/reference
        kled_provider/kata/image/resource
        kled_provider/kata/image/storing kled_provider/kata/image/unpacking
    """,
    "provider/kata/serving/test_remote.py": """
        kled_provider/kata/serving/daemon kled_provider/kata/serving/lines
        kled_provider/kata/serving/run_host kled_provider/kata_program
    """,
    "provider/kled/processes/test_running.py": """
        kled_provider/kled/processes/launcher kled_provider/locks
    """,
    "provider/kled/test_agent_parts.py": """
        kled_provider/kled/agent_schema kled_provider/kled/owner kled_provider/kled/provisioner
        kled_provider/kled/record
    """,
    "provider/plugin/test_schema.py": "kled_provider/plugin/schema_message",
    "provider/plugin/test_service.py": """
        kled_provider/plugin/messages kled_provider/plugin/operations
        kled_provider/plugin/resource
    """,
    "provider/test_docs.py": "kled_provider/reference",
    "provider/test_every_shape.py": "kled_provider/plugin/checks",
    "provider/test_parameters.py": """
        kled_provider/kled/parameters/preset kled_provider/kled/parameters/regex_process
    """,
    "provider/test_standalone.py": """
        kled_provider/__main__ kled_provider/environment_host kled_provider/handshake
    """,
    "provider/test_with_terraform.py": """
        kled_provider/host kled_provider/kled/processes/process kled_provider/kled/provider
        kled_provider/kled/workspace kled_provider/plugin/serving kled_provider/serve
    """,
    "sync/decide/test_moves.py": "kled_sync/tree/subtree",
    "sync/decide/test_operations.py": "kled_sync/decide/safety",
    "sync/decide/test_reconcile.py": """
        kled_sync/decide/comparing kled_sync/decide/guard kled_sync/decide/modes
        kled_sync/tree/entry
    """,
    "sync/files/writing/test_building.py": "kled_sync/files/writing/filling",
    "sync/files/writing/test_placing.py": """
        kled_sync/files/writing/copying kled_sync/files/writing/refusal
    """,
    "sync/ignore/test_rules.py": "kled_sync/ignore/pattern kled_sync/ignore/presets",
    "sync/session/attributes/test_kept.py": "kled_sync/files/writing/kept_attributes",
    "sync/session/attributes/test_copied.py": """
        kled_sync/endpoint/attributes kled_sync/files/attributes
        kled_sync/session/attributes/requests
    """,
    "sync/session/transfers/test_moving.py": "kled_sync/session/transfers/renaming",
    "sync/session/attributes/test_standing.py": "kled_sync/session/agreed/marks",
    "sync/session/test_continuous.py": """
        kled_sync/session/kept kled_sync/watching/filesystem kled_sync/watching/inotify
        kled_sync/watching/kernel kled_sync/session/crash kled_sync/session/deciding
    """,
    "sync/session/test_links.py": "kled_sync/files/reading/linked_names",
    "sync/session/test_names.py": "kled_sync/decide/folding kled_sync/files/reading/probing",
    "sync/tree/test_directories.py": "kled_sync/tree/packed",
    "sync/session/test_halting.py": "kled_sync/session/roots",
    "sync/session/test_once.py": """
        kled_sync/__main__ kled_sync/endpoint/holding kled_sync/endpoint/thread_queues
        kled_sync/endpoint/placing_job kled_sync/endpoint/reporting
        kled_sync/endpoint/serving kled_sync/endpoint/supplying kled_sync/endpoint/undoing
        kled_sync/files/reading/chunk_store
        kled_sync/files/writing/kept kled_sync/files/reading/memory kled_sync/files/options
        kled_sync/files/root kled_sync/files/reading/scanning
        kled_sync/files/reading/snapshot kled_sync/files/writing/staging
        kled_sync/files/system kled_sync/files/writing/large_arrival
        kled_sync/endpoint/large_file kled_sync/garbage_collection
        kled_sync/session/agreed/agreement
        kled_sync/session/transfers/jobs
    """,
    "sync/watching/test_hints.py": "kled_sync/watching/choice",
    "sync/wire/test_messages.py": """
        kled_sync/tree/paths kled_sync/wire/blocks kled_sync/wire/codec
        kled_sync/wire/contents
    """,
    "test_docs.py": "kled_wire/limits",
    "wire/control/test_codec.py": "kled_wire/control/messages",
    "wire/resume/test_driver.py": "kled_wire/transport/vector",
    "wire/resume/test_stream.py": "kled_wire/resume/handshake",
    "wire/ssh/test_subsystems.py": "kled_client/ssh/ports",
    "wire/transport/test_tls.py": "kled_wire/transport/tlssession",
    "wire/transport/test_wscarrier.py": "kled_wire/transport/websocket",
    "provider/kata/container/test_values.py": """
        kled_provider/kata/container/declared/block_rules kled_provider/kata/network/ports
        kled_provider/kata/container/declared/value_checks
    """,
    "provider/kata/container/declared/test_runtime_rules.py": """
        kled_provider/kata/container/declared/annotated
        kled_provider/kata/container/declared/annotations
        kled_provider/kata/container/declared/guest_size
        kled_provider/kata/runtime_config/places
    """,
    "provider/kata/host/test_data.py": """
        kled_coord/terraform/doctor kled_provider/kata/host/examine kled_provider/kata/host/shims
    """,
    "provider/kata/owner/test_parsing.py": """
        kled_provider/kata/owner/file kled_provider/kata/owner/table
    """,
    "provider/kata/runtime_config/test_resource.py": """
        kled_provider/kata/runtime_config/keeping kled_provider/kata/runtime_config/schema
    """,
    "provider/kata/runtime_config/test_rules.py": """
        kled_provider/kata/runtime_config/mem_agent_rules kled_provider/kata/runtime_config/merged
        kled_provider/kata/runtime_config/problem
    """,
    "provider/kata/runtime_config/test_keys.py": """
        kled_provider/kata/runtime_config/hypervisor_keys
        kled_provider/kata/runtime_config/other_keys
    """,
}
