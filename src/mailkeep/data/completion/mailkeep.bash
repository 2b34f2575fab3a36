# mailkeep's completion for bash, made from its parser. eval "$(mailkeep completion bash)" in ~/.bashrc
_shtab_mailkeep_peer_subparsers=(add list show remove forget)
_shtab_mailkeep_config_subparsers=(show path names)
_shtab_mailkeep_subparsers=(init peer sync serve scan status log verify holds approve reject why show ls undelete undo annotate annotations expire du check selftest doctor backup rebuild snapshot export import verify-copy missing restore config completion)

_shtab_mailkeep_init_option_strings=(-h --help -q --quiet -v --verbose --json --store --state --layout --encoding --create --adopt --force)
_shtab_mailkeep_peer_add_option_strings=(-h --help -q --quiet -v --verbose --json --store --command --direction --remote-store --include --exclude --map)
_shtab_mailkeep_peer_list_option_strings=(-h --help -q --quiet -v --verbose --json --store)
_shtab_mailkeep_peer_show_option_strings=(-h --help -q --quiet -v --verbose --json --store)
_shtab_mailkeep_peer_remove_option_strings=(-h --help -q --quiet -v --verbose --json --store)
_shtab_mailkeep_peer_forget_option_strings=(-h --help -q --quiet -v --verbose --json --store --wait)
_shtab_mailkeep_peer_option_strings=(-h --help)
_shtab_mailkeep_sync_option_strings=(-h --help -q --quiet -v --verbose --json --store -n --dry-run --wait --force)
_shtab_mailkeep_serve_option_strings=(-h --help -q --quiet -v --verbose --json --store --path --role)
_shtab_mailkeep_scan_option_strings=(-h --help -q --quiet -v --verbose --json --store -n --dry-run --wait)
_shtab_mailkeep_status_option_strings=(-h --help -q --quiet -v --verbose --json --store)
_shtab_mailkeep_log_option_strings=(-h --help -q --quiet -v --verbose --json --store --last --since --peer)
_shtab_mailkeep_verify_option_strings=(-h --help -q --quiet -v --verbose --json --store --quick --repair --wait)
_shtab_mailkeep_holds_option_strings=(-h --help -q --quiet -v --verbose --json --store --last)
_shtab_mailkeep_approve_option_strings=(-h --help -q --quiet -v --verbose --json --store --wait)
_shtab_mailkeep_reject_option_strings=(-h --help -q --quiet -v --verbose --json --store --wait)
_shtab_mailkeep_why_option_strings=(-h --help -q --quiet -v --verbose --json --store --last)
_shtab_mailkeep_show_option_strings=(-h --help -q --quiet -v --verbose --json --store --mailbox --kind --last)
_shtab_mailkeep_ls_option_strings=(-h --help -q --quiet -v --verbose --json --store --at --last)
_shtab_mailkeep_undelete_option_strings=(-h --help -q --quiet -v --verbose --json --store --mailbox --since --until --run --all --to --everywhere -n --dry-run --last --wait)
_shtab_mailkeep_undo_option_strings=(-h --help -q --quiet -v --verbose --json --store --mailbox --kind -n --dry-run --force --approve --last --wait)
_shtab_mailkeep_annotate_option_strings=(-h --help -q --quiet -v --verbose --json --store --all --remove --accept --refuse --wait)
_shtab_mailkeep_annotations_option_strings=(-h --help -q --quiet -v --verbose --json --store --effective)
_shtab_mailkeep_expire_option_strings=(-h --help -q --quiet -v --verbose --json --store --plan --time --messages --rate --free --clock-is-right --wait)
_shtab_mailkeep_du_option_strings=(-h --help -q --quiet -v --verbose --json --store)
_shtab_mailkeep_check_option_strings=(-h --help -q --quiet -v --verbose --json --store --offline)
_shtab_mailkeep_selftest_option_strings=(-h --help -q --quiet -v --verbose --json --store --seed --time --messages --scratch)
_shtab_mailkeep_doctor_option_strings=(-h --help -q --quiet -v --verbose --json --store --offline)
_shtab_mailkeep_backup_option_strings=(-h --help -q --quiet -v --verbose --json --store --list --check)
_shtab_mailkeep_rebuild_option_strings=(-h --help -q --quiet -v --verbose --json --store --from --from-mail --recover -n --dry-run --force --wait)
_shtab_mailkeep_snapshot_option_strings=(-h --help -q --quiet -v --verbose --json --store --expunged --link --wait)
_shtab_mailkeep_export_option_strings=(-h --help -q --quiet -v --verbose --json --store --expunged --link --wait)
_shtab_mailkeep_import_option_strings=(-h --help -q --quiet -v --verbose --json --store -n --dry-run --deleted-too --expunged --wait)
_shtab_mailkeep_verify_copy_option_strings=(-h --help -q --quiet -v --verbose --json)
_shtab_mailkeep_missing_option_strings=(-h --help -q --quiet -v --verbose --json --store --against --kind --since --for --only --wait --ids)
_shtab_mailkeep_restore_option_strings=(-h --help -q --quiet -v --verbose --json --store --from --kind --since --for --only --wait --into --deleted-too --yes -n --dry-run --at --to --format --last)
_shtab_mailkeep_config_show_option_strings=(-h --help -q --quiet -v --verbose --json --store)
_shtab_mailkeep_config_path_option_strings=(-h --help -q --quiet -v --verbose --json)
_shtab_mailkeep_config_names_option_strings=(-h --help -q --quiet -v --verbose --json --store)
_shtab_mailkeep_config_option_strings=(-h --help)
_shtab_mailkeep_completion_option_strings=(-h --help -q --quiet -v --verbose --json)
_shtab_mailkeep_option_strings=(-h --help -q --quiet -v --verbose --json --version)

_shtab_mailkeep_init_pos_0_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_init___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_init___state_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_peer_add___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_peer_list___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_peer_show_pos_0_COMPGEN=_mailkeep_peers
_shtab_mailkeep_peer_show___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_peer_remove_pos_0_COMPGEN=_mailkeep_peers
_shtab_mailkeep_peer_remove___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_peer_forget_pos_0_COMPGEN=_mailkeep_peers
_shtab_mailkeep_peer_forget___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_sync_pos_0_COMPGEN=_mailkeep_peers
_shtab_mailkeep_sync___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_serve___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_serve___path_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_scan___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_status___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_log___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_log___peer_COMPGEN=_mailkeep_peers
_shtab_mailkeep_verify___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_holds___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_approve___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_reject___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_why___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_show___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_ls___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_undelete___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_undo___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_annotate___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_annotations___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_expire___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_du___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_check___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_selftest_pos_0_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_selftest___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_selftest___scratch_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_doctor___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_backup___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_rebuild___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_snapshot_pos_0_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_snapshot___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_export_pos_1_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_export___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_import_pos_0_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_import___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_verify_copy_pos_0_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_missing___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_restore___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_restore___to_COMPGEN=_shtab_compgen_dirs
_shtab_mailkeep_config_show___store_COMPGEN=_mailkeep_stores
_shtab_mailkeep_config_names___store_COMPGEN=_mailkeep_stores

_shtab_mailkeep_init___layout_choices=(auto maildir++ fs)
_shtab_mailkeep_init___encoding_choices=(auto utf-7 utf-8)
_shtab_mailkeep_peer_add___direction_choices=(both pull push archive)
_shtab_mailkeep_peer_pos_0_choices=(add list show remove forget)
_shtab_mailkeep_serve___role_choices=(read append full)
_shtab_mailkeep_show___kind_choices=(added removed moved returned flagged mailbox)
_shtab_mailkeep_undo___kind_choices=(added removed moved returned flagged mailbox)
_shtab_mailkeep_missing___kind_choices=(maildir mbox ids log notmuch store peer)
_shtab_mailkeep_restore___kind_choices=(maildir mbox ids log notmuch store peer)
_shtab_mailkeep_restore___format_choices=(maildir mbox)
_shtab_mailkeep_config_names_pos_0_choices=(stores peers)
_shtab_mailkeep_config_pos_0_choices=(show path names)
_shtab_mailkeep_completion_pos_0_choices=(bash zsh fish)
_shtab_mailkeep_pos_0_choices=(init peer sync serve scan status log verify holds approve reject why show ls undelete undo annotate annotations expire du check selftest doctor backup rebuild snapshot export import verify-copy missing restore config completion)

_shtab_mailkeep_init__h_nargs=0
_shtab_mailkeep_init___help_nargs=0
_shtab_mailkeep_init__q_nargs=0
_shtab_mailkeep_init___quiet_nargs=0
_shtab_mailkeep_init__v_nargs=0
_shtab_mailkeep_init___verbose_nargs=0
_shtab_mailkeep_init___json_nargs=0
_shtab_mailkeep_init___create_nargs=0
_shtab_mailkeep_init___adopt_nargs=0
_shtab_mailkeep_init___force_nargs=0
_shtab_mailkeep_peer_add__h_nargs=0
_shtab_mailkeep_peer_add___help_nargs=0
_shtab_mailkeep_peer_add__q_nargs=0
_shtab_mailkeep_peer_add___quiet_nargs=0
_shtab_mailkeep_peer_add__v_nargs=0
_shtab_mailkeep_peer_add___verbose_nargs=0
_shtab_mailkeep_peer_add___json_nargs=0
_shtab_mailkeep_peer_list__h_nargs=0
_shtab_mailkeep_peer_list___help_nargs=0
_shtab_mailkeep_peer_list__q_nargs=0
_shtab_mailkeep_peer_list___quiet_nargs=0
_shtab_mailkeep_peer_list__v_nargs=0
_shtab_mailkeep_peer_list___verbose_nargs=0
_shtab_mailkeep_peer_list___json_nargs=0
_shtab_mailkeep_peer_show__h_nargs=0
_shtab_mailkeep_peer_show___help_nargs=0
_shtab_mailkeep_peer_show__q_nargs=0
_shtab_mailkeep_peer_show___quiet_nargs=0
_shtab_mailkeep_peer_show__v_nargs=0
_shtab_mailkeep_peer_show___verbose_nargs=0
_shtab_mailkeep_peer_show___json_nargs=0
_shtab_mailkeep_peer_remove__h_nargs=0
_shtab_mailkeep_peer_remove___help_nargs=0
_shtab_mailkeep_peer_remove__q_nargs=0
_shtab_mailkeep_peer_remove___quiet_nargs=0
_shtab_mailkeep_peer_remove__v_nargs=0
_shtab_mailkeep_peer_remove___verbose_nargs=0
_shtab_mailkeep_peer_remove___json_nargs=0
_shtab_mailkeep_peer_forget__h_nargs=0
_shtab_mailkeep_peer_forget___help_nargs=0
_shtab_mailkeep_peer_forget__q_nargs=0
_shtab_mailkeep_peer_forget___quiet_nargs=0
_shtab_mailkeep_peer_forget__v_nargs=0
_shtab_mailkeep_peer_forget___verbose_nargs=0
_shtab_mailkeep_peer_forget___json_nargs=0
_shtab_mailkeep_peer_pos_0_nargs=A...
_shtab_mailkeep_peer__h_nargs=0
_shtab_mailkeep_peer___help_nargs=0
_shtab_mailkeep_sync_pos_0_nargs='*'
_shtab_mailkeep_sync__h_nargs=0
_shtab_mailkeep_sync___help_nargs=0
_shtab_mailkeep_sync__q_nargs=0
_shtab_mailkeep_sync___quiet_nargs=0
_shtab_mailkeep_sync__v_nargs=0
_shtab_mailkeep_sync___verbose_nargs=0
_shtab_mailkeep_sync___json_nargs=0
_shtab_mailkeep_sync__n_nargs=0
_shtab_mailkeep_sync___dry_run_nargs=0
_shtab_mailkeep_sync___force_nargs=0
_shtab_mailkeep_serve__h_nargs=0
_shtab_mailkeep_serve___help_nargs=0
_shtab_mailkeep_serve__q_nargs=0
_shtab_mailkeep_serve___quiet_nargs=0
_shtab_mailkeep_serve__v_nargs=0
_shtab_mailkeep_serve___verbose_nargs=0
_shtab_mailkeep_serve___json_nargs=0
_shtab_mailkeep_scan__h_nargs=0
_shtab_mailkeep_scan___help_nargs=0
_shtab_mailkeep_scan__q_nargs=0
_shtab_mailkeep_scan___quiet_nargs=0
_shtab_mailkeep_scan__v_nargs=0
_shtab_mailkeep_scan___verbose_nargs=0
_shtab_mailkeep_scan___json_nargs=0
_shtab_mailkeep_scan__n_nargs=0
_shtab_mailkeep_scan___dry_run_nargs=0
_shtab_mailkeep_status__h_nargs=0
_shtab_mailkeep_status___help_nargs=0
_shtab_mailkeep_status__q_nargs=0
_shtab_mailkeep_status___quiet_nargs=0
_shtab_mailkeep_status__v_nargs=0
_shtab_mailkeep_status___verbose_nargs=0
_shtab_mailkeep_status___json_nargs=0
_shtab_mailkeep_log__h_nargs=0
_shtab_mailkeep_log___help_nargs=0
_shtab_mailkeep_log__q_nargs=0
_shtab_mailkeep_log___quiet_nargs=0
_shtab_mailkeep_log__v_nargs=0
_shtab_mailkeep_log___verbose_nargs=0
_shtab_mailkeep_log___json_nargs=0
_shtab_mailkeep_verify__h_nargs=0
_shtab_mailkeep_verify___help_nargs=0
_shtab_mailkeep_verify__q_nargs=0
_shtab_mailkeep_verify___quiet_nargs=0
_shtab_mailkeep_verify__v_nargs=0
_shtab_mailkeep_verify___verbose_nargs=0
_shtab_mailkeep_verify___json_nargs=0
_shtab_mailkeep_verify___quick_nargs=0
_shtab_mailkeep_verify___repair_nargs=0
_shtab_mailkeep_holds__h_nargs=0
_shtab_mailkeep_holds___help_nargs=0
_shtab_mailkeep_holds__q_nargs=0
_shtab_mailkeep_holds___quiet_nargs=0
_shtab_mailkeep_holds__v_nargs=0
_shtab_mailkeep_holds___verbose_nargs=0
_shtab_mailkeep_holds___json_nargs=0
_shtab_mailkeep_approve_pos_0_nargs='*'
_shtab_mailkeep_approve__h_nargs=0
_shtab_mailkeep_approve___help_nargs=0
_shtab_mailkeep_approve__q_nargs=0
_shtab_mailkeep_approve___quiet_nargs=0
_shtab_mailkeep_approve__v_nargs=0
_shtab_mailkeep_approve___verbose_nargs=0
_shtab_mailkeep_approve___json_nargs=0
_shtab_mailkeep_reject_pos_0_nargs='*'
_shtab_mailkeep_reject__h_nargs=0
_shtab_mailkeep_reject___help_nargs=0
_shtab_mailkeep_reject__q_nargs=0
_shtab_mailkeep_reject___quiet_nargs=0
_shtab_mailkeep_reject__v_nargs=0
_shtab_mailkeep_reject___verbose_nargs=0
_shtab_mailkeep_reject___json_nargs=0
_shtab_mailkeep_why_pos_0_nargs=+
_shtab_mailkeep_why__h_nargs=0
_shtab_mailkeep_why___help_nargs=0
_shtab_mailkeep_why__q_nargs=0
_shtab_mailkeep_why___quiet_nargs=0
_shtab_mailkeep_why__v_nargs=0
_shtab_mailkeep_why___verbose_nargs=0
_shtab_mailkeep_why___json_nargs=0
_shtab_mailkeep_show_pos_1_nargs='*'
_shtab_mailkeep_show__h_nargs=0
_shtab_mailkeep_show___help_nargs=0
_shtab_mailkeep_show__q_nargs=0
_shtab_mailkeep_show___quiet_nargs=0
_shtab_mailkeep_show__v_nargs=0
_shtab_mailkeep_show___verbose_nargs=0
_shtab_mailkeep_show___json_nargs=0
_shtab_mailkeep_ls_pos_1_nargs='*'
_shtab_mailkeep_ls__h_nargs=0
_shtab_mailkeep_ls___help_nargs=0
_shtab_mailkeep_ls__q_nargs=0
_shtab_mailkeep_ls___quiet_nargs=0
_shtab_mailkeep_ls__v_nargs=0
_shtab_mailkeep_ls___verbose_nargs=0
_shtab_mailkeep_ls___json_nargs=0
_shtab_mailkeep_undelete_pos_0_nargs='*'
_shtab_mailkeep_undelete__h_nargs=0
_shtab_mailkeep_undelete___help_nargs=0
_shtab_mailkeep_undelete__q_nargs=0
_shtab_mailkeep_undelete___quiet_nargs=0
_shtab_mailkeep_undelete__v_nargs=0
_shtab_mailkeep_undelete___verbose_nargs=0
_shtab_mailkeep_undelete___json_nargs=0
_shtab_mailkeep_undelete___all_nargs=0
_shtab_mailkeep_undelete___everywhere_nargs=0
_shtab_mailkeep_undelete__n_nargs=0
_shtab_mailkeep_undelete___dry_run_nargs=0
_shtab_mailkeep_undo_pos_1_nargs='*'
_shtab_mailkeep_undo__h_nargs=0
_shtab_mailkeep_undo___help_nargs=0
_shtab_mailkeep_undo__q_nargs=0
_shtab_mailkeep_undo___quiet_nargs=0
_shtab_mailkeep_undo__v_nargs=0
_shtab_mailkeep_undo___verbose_nargs=0
_shtab_mailkeep_undo___json_nargs=0
_shtab_mailkeep_undo__n_nargs=0
_shtab_mailkeep_undo___dry_run_nargs=0
_shtab_mailkeep_undo___force_nargs=0
_shtab_mailkeep_undo___approve_nargs=0
_shtab_mailkeep_annotate_pos_0_nargs='*'
_shtab_mailkeep_annotate__h_nargs=0
_shtab_mailkeep_annotate___help_nargs=0
_shtab_mailkeep_annotate__q_nargs=0
_shtab_mailkeep_annotate___quiet_nargs=0
_shtab_mailkeep_annotate__v_nargs=0
_shtab_mailkeep_annotate___verbose_nargs=0
_shtab_mailkeep_annotate___json_nargs=0
_shtab_mailkeep_annotate___all_nargs=0
_shtab_mailkeep_annotate___remove_nargs=+
_shtab_mailkeep_annotate___accept_nargs='*'
_shtab_mailkeep_annotate___refuse_nargs='*'
_shtab_mailkeep_annotations__h_nargs=0
_shtab_mailkeep_annotations___help_nargs=0
_shtab_mailkeep_annotations__q_nargs=0
_shtab_mailkeep_annotations___quiet_nargs=0
_shtab_mailkeep_annotations__v_nargs=0
_shtab_mailkeep_annotations___verbose_nargs=0
_shtab_mailkeep_annotations___json_nargs=0
_shtab_mailkeep_expire__h_nargs=0
_shtab_mailkeep_expire___help_nargs=0
_shtab_mailkeep_expire__q_nargs=0
_shtab_mailkeep_expire___quiet_nargs=0
_shtab_mailkeep_expire__v_nargs=0
_shtab_mailkeep_expire___verbose_nargs=0
_shtab_mailkeep_expire___json_nargs=0
_shtab_mailkeep_expire___plan_nargs=0
_shtab_mailkeep_expire___clock_is_right_nargs=0
_shtab_mailkeep_du__h_nargs=0
_shtab_mailkeep_du___help_nargs=0
_shtab_mailkeep_du__q_nargs=0
_shtab_mailkeep_du___quiet_nargs=0
_shtab_mailkeep_du__v_nargs=0
_shtab_mailkeep_du___verbose_nargs=0
_shtab_mailkeep_du___json_nargs=0
_shtab_mailkeep_check__h_nargs=0
_shtab_mailkeep_check___help_nargs=0
_shtab_mailkeep_check__q_nargs=0
_shtab_mailkeep_check___quiet_nargs=0
_shtab_mailkeep_check__v_nargs=0
_shtab_mailkeep_check___verbose_nargs=0
_shtab_mailkeep_check___json_nargs=0
_shtab_mailkeep_check___offline_nargs=0
_shtab_mailkeep_selftest__h_nargs=0
_shtab_mailkeep_selftest___help_nargs=0
_shtab_mailkeep_selftest__q_nargs=0
_shtab_mailkeep_selftest___quiet_nargs=0
_shtab_mailkeep_selftest__v_nargs=0
_shtab_mailkeep_selftest___verbose_nargs=0
_shtab_mailkeep_selftest___json_nargs=0
_shtab_mailkeep_doctor__h_nargs=0
_shtab_mailkeep_doctor___help_nargs=0
_shtab_mailkeep_doctor__q_nargs=0
_shtab_mailkeep_doctor___quiet_nargs=0
_shtab_mailkeep_doctor__v_nargs=0
_shtab_mailkeep_doctor___verbose_nargs=0
_shtab_mailkeep_doctor___json_nargs=0
_shtab_mailkeep_doctor___offline_nargs=0
_shtab_mailkeep_backup__h_nargs=0
_shtab_mailkeep_backup___help_nargs=0
_shtab_mailkeep_backup__q_nargs=0
_shtab_mailkeep_backup___quiet_nargs=0
_shtab_mailkeep_backup__v_nargs=0
_shtab_mailkeep_backup___verbose_nargs=0
_shtab_mailkeep_backup___json_nargs=0
_shtab_mailkeep_backup___list_nargs=0
_shtab_mailkeep_backup___check_nargs=0
_shtab_mailkeep_rebuild__h_nargs=0
_shtab_mailkeep_rebuild___help_nargs=0
_shtab_mailkeep_rebuild__q_nargs=0
_shtab_mailkeep_rebuild___quiet_nargs=0
_shtab_mailkeep_rebuild__v_nargs=0
_shtab_mailkeep_rebuild___verbose_nargs=0
_shtab_mailkeep_rebuild___json_nargs=0
_shtab_mailkeep_rebuild___from_mail_nargs=0
_shtab_mailkeep_rebuild__n_nargs=0
_shtab_mailkeep_rebuild___dry_run_nargs=0
_shtab_mailkeep_rebuild___force_nargs=0
_shtab_mailkeep_snapshot__h_nargs=0
_shtab_mailkeep_snapshot___help_nargs=0
_shtab_mailkeep_snapshot__q_nargs=0
_shtab_mailkeep_snapshot___quiet_nargs=0
_shtab_mailkeep_snapshot__v_nargs=0
_shtab_mailkeep_snapshot___verbose_nargs=0
_shtab_mailkeep_snapshot___json_nargs=0
_shtab_mailkeep_snapshot___expunged_nargs=0
_shtab_mailkeep_snapshot___link_nargs=0
_shtab_mailkeep_export_pos_0_nargs=+
_shtab_mailkeep_export__h_nargs=0
_shtab_mailkeep_export___help_nargs=0
_shtab_mailkeep_export__q_nargs=0
_shtab_mailkeep_export___quiet_nargs=0
_shtab_mailkeep_export__v_nargs=0
_shtab_mailkeep_export___verbose_nargs=0
_shtab_mailkeep_export___json_nargs=0
_shtab_mailkeep_export___expunged_nargs=0
_shtab_mailkeep_export___link_nargs=0
_shtab_mailkeep_import__h_nargs=0
_shtab_mailkeep_import___help_nargs=0
_shtab_mailkeep_import__q_nargs=0
_shtab_mailkeep_import___quiet_nargs=0
_shtab_mailkeep_import__v_nargs=0
_shtab_mailkeep_import___verbose_nargs=0
_shtab_mailkeep_import___json_nargs=0
_shtab_mailkeep_import__n_nargs=0
_shtab_mailkeep_import___dry_run_nargs=0
_shtab_mailkeep_import___deleted_too_nargs=0
_shtab_mailkeep_import___expunged_nargs=0
_shtab_mailkeep_verify_copy__h_nargs=0
_shtab_mailkeep_verify_copy___help_nargs=0
_shtab_mailkeep_verify_copy__q_nargs=0
_shtab_mailkeep_verify_copy___quiet_nargs=0
_shtab_mailkeep_verify_copy__v_nargs=0
_shtab_mailkeep_verify_copy___verbose_nargs=0
_shtab_mailkeep_verify_copy___json_nargs=0
_shtab_mailkeep_missing__h_nargs=0
_shtab_mailkeep_missing___help_nargs=0
_shtab_mailkeep_missing__q_nargs=0
_shtab_mailkeep_missing___quiet_nargs=0
_shtab_mailkeep_missing__v_nargs=0
_shtab_mailkeep_missing___verbose_nargs=0
_shtab_mailkeep_missing___json_nargs=0
_shtab_mailkeep_missing___ids_nargs=0
_shtab_mailkeep_restore__h_nargs=0
_shtab_mailkeep_restore___help_nargs=0
_shtab_mailkeep_restore__q_nargs=0
_shtab_mailkeep_restore___quiet_nargs=0
_shtab_mailkeep_restore__v_nargs=0
_shtab_mailkeep_restore___verbose_nargs=0
_shtab_mailkeep_restore___json_nargs=0
_shtab_mailkeep_restore___deleted_too_nargs=0
_shtab_mailkeep_restore___yes_nargs=0
_shtab_mailkeep_restore__n_nargs=0
_shtab_mailkeep_restore___dry_run_nargs=0
_shtab_mailkeep_config_show__h_nargs=0
_shtab_mailkeep_config_show___help_nargs=0
_shtab_mailkeep_config_show__q_nargs=0
_shtab_mailkeep_config_show___quiet_nargs=0
_shtab_mailkeep_config_show__v_nargs=0
_shtab_mailkeep_config_show___verbose_nargs=0
_shtab_mailkeep_config_show___json_nargs=0
_shtab_mailkeep_config_path__h_nargs=0
_shtab_mailkeep_config_path___help_nargs=0
_shtab_mailkeep_config_path__q_nargs=0
_shtab_mailkeep_config_path___quiet_nargs=0
_shtab_mailkeep_config_path__v_nargs=0
_shtab_mailkeep_config_path___verbose_nargs=0
_shtab_mailkeep_config_path___json_nargs=0
_shtab_mailkeep_config_names__h_nargs=0
_shtab_mailkeep_config_names___help_nargs=0
_shtab_mailkeep_config_names__q_nargs=0
_shtab_mailkeep_config_names___quiet_nargs=0
_shtab_mailkeep_config_names__v_nargs=0
_shtab_mailkeep_config_names___verbose_nargs=0
_shtab_mailkeep_config_names___json_nargs=0
_shtab_mailkeep_config_pos_0_nargs=A...
_shtab_mailkeep_config__h_nargs=0
_shtab_mailkeep_config___help_nargs=0
_shtab_mailkeep_completion__h_nargs=0
_shtab_mailkeep_completion___help_nargs=0
_shtab_mailkeep_completion__q_nargs=0
_shtab_mailkeep_completion___quiet_nargs=0
_shtab_mailkeep_completion__v_nargs=0
_shtab_mailkeep_completion___verbose_nargs=0
_shtab_mailkeep_completion___json_nargs=0
_shtab_mailkeep_pos_0_nargs=A...
_shtab_mailkeep__h_nargs=0
_shtab_mailkeep___help_nargs=0
_shtab_mailkeep__q_nargs=0
_shtab_mailkeep___quiet_nargs=0
_shtab_mailkeep__v_nargs=0
_shtab_mailkeep___verbose_nargs=0
_shtab_mailkeep___json_nargs=0
_shtab_mailkeep___version_nargs=0



_mailkeep_stores() {
  compgen -W "$(mailkeep config names stores 2>/dev/null)" -- "$1"
}

_mailkeep_peers() {
  local at store=()
  for ((at = 1; at < COMP_CWORD; at++)); do
    [[ "${COMP_WORDS[at]}" == --store ]] && store=(--store "${COMP_WORDS[at + 1]}")
  done
  compgen -W "$(mailkeep config names peers "${store[@]}" 2>/dev/null)" -- "$1"
}


_shtab_compgen_files() {
  compgen -f -- $1  # files
}

_shtab_compgen_dirs() {
  compgen -d -- $1  # recurse into subdirs
}

_shtab_replace_nonword() {
  echo "${1//[^[:word:]]/_}"
}

_set_parser_defaults() {
  local subparsers_var="${prefix}_subparsers[@]"
  sub_parsers=${!subparsers_var-}

  local current_option_strings_var="${prefix}_option_strings[@]"
  current_option_strings=${!current_option_strings_var}

  completed_positional_actions=0

  _set_new_action "pos_$completed_positional_actions" true
}

_set_new_action() {
  current_action="${prefix}_$(_shtab_replace_nonword $1)"

  local current_action_compgen_var=${current_action}_COMPGEN
  current_action_compgen="${!current_action_compgen_var-}"

  local current_action_choices_var="${current_action}_choices[@]"
  current_action_choices="${!current_action_choices_var-}"

  local current_action_nargs_var="${current_action}_nargs"
  if [ -n "${!current_action_nargs_var-}" ]; then
    current_action_nargs="${!current_action_nargs_var}"
  else
    current_action_nargs=1
  fi

  current_action_args_start_index=$(( $word_index + 1 - $pos_only ))

  current_action_is_positional=$2
}

_shtab_mailkeep() {
  local completing_word="${COMP_WORDS[COMP_CWORD]}"
  local previous_word="${COMP_WORDS[COMP_CWORD-1]}"
  local completed_positional_actions
  local current_action
  local current_action_args_start_index
  local current_action_choices
  local current_action_compgen
  local current_action_is_positional
  local current_action_nargs
  local current_option_strings
  local sub_parsers
  COMPREPLY=()

  local prefix=_shtab_mailkeep
  local word_index=0
  local pos_only=0 # "--" delimiter not encountered yet
  _set_parser_defaults
  word_index=1

  # determine what arguments are appropriate for the current state
  # of the arg parser
  while [ $word_index -ne $COMP_CWORD ]; do
    local this_word="${COMP_WORDS[$word_index]}"

    if [[ $pos_only = 1 || " $this_word " != " -- " ]]; then
      if [[ -n $sub_parsers && " ${sub_parsers[@]} " == *" $this_word "* ]]; then
        # valid subcommand: add it to the prefix & reset the current action
        prefix="${prefix}_$(_shtab_replace_nonword $this_word)"
        _set_parser_defaults
      fi

      if [[ " ${current_option_strings[@]} " == *" $this_word "* ]]; then
        # a new action should be acquired (due to recognised option string or
        # no more input expected from current action);
        # the next positional action can fill in here
        _set_new_action $this_word false
      fi

      if [[ "$current_action_nargs" != "*" ]] && \
         [[ "$current_action_nargs" != "+" ]] && \
         [[ "$current_action_nargs" != "?" ]] && \
         [[ "$current_action_nargs" != *"..." ]] && \
         (( $word_index + 1 - $current_action_args_start_index - $pos_only >= \
            $current_action_nargs )); then
        $current_action_is_positional && let "completed_positional_actions += 1"
        _set_new_action "pos_$completed_positional_actions" true
      fi
    else
      pos_only=1 # "--" delimiter encountered
    fi

    let "word_index+=1"
  done

  # Generate the completions

  COMPREPLY=()
  if [[ $pos_only = 0 && "$completing_word" == -* &&
        ( -z "$current_action_compgen" || "$current_action_is_positional" = true ) ]]; then
    # optional argument started: use option strings
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
      compgen -W "${current_option_strings[*]}" -- "$completing_word")
  elif [[ "$previous_word" =~ ^[0-9\&]*[\<\>]\>?$ ]]; then
    # handle redirection operators
    compopt -o filenames 2>/dev/null || : # bash>=4
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$completing_word")
  else
    # use choices & compgen
    local action_compgen_word="$completing_word"
    # handle tab-completing in the middle of a line (#248 <- #116)
    [[ -n "$current_action_compgen" && "$completing_word" == -* ]] && action_compgen_word=""
    [ -n "$current_action_compgen" ] && {
      [[ "$current_action_compgen" =~ _(file|dir|glob|FILE|DIR|GLOB)|File|Dir|Glob ]] &&
        compopt -o filenames 2>/dev/null || : # bash>=4
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
        "$current_action_compgen" "$action_compgen_word")
    }
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
      compgen -W "${current_action_choices[*]}" -- "$completing_word")
  fi

  if [[ ${#COMPREPLY[@]} = 0 ]]; then
    # native fallback matches are not necessarily filenames (e.g. variables)
    compopt +o filenames 2>/dev/null || : # bash>=4
  fi

  return 0
}

complete -o bashdefault -F _shtab_mailkeep mailkeep
