"""Deliberate breakages of the product, each with the test that notices it.

A text is replaced in a copy of the repository, and the test must fail there. `tests/mutation/run.py` runs them all
(`make mutants`); an ordinary test checks that each text is still there once, so that none of them comes to nothing.
"""

from __future__ import annotations

from typing import NamedTuple


class Breakage(NamedTuple):
    """One breakage: in `file` (below src/mailkeep), `old` becomes `new`, and `test` fails."""

    name: str
    file: str
    old: str
    new: str
    test: str


BREAKAGES = (
    Breakage(
        "nothing is synced",
        "system/fs.py",
        "                if libc().syncfs(self.fd) != 0:",
        "                if False:",
        "tests/interop/test_durability.py::test_first_sync_is_durable_in_groups",
    ),
    Breakage(
        "a failed sync is tried again as if nothing had happened",
        "system/fs.py",
        "            self.failed = True\n",
        "",
        "tests/crash/test_review_peer.py::test_a_batch_whose_sync_failed_is_not_noted_when_the_session_ends",
    ),
    Breakage(
        "a directory entry is not made durable",
        "system/fs.py",
        "                for path in sorted(self.directories):\n                    fsync_path(path)\n",
        "",
        "tests/unit/system/test_fs.py::test_where_syncfs_tells_no_errors_each_file_and_each_directory_is_synced",
    ),
    Breakage(
        "the journal is cleared before its files are durable",
        "store/apply.py",
        "        self.vault.syncer.sync()\n        with self.index.transaction():\n            self.index.executemany(\n"
        '                "UPDATE record SET sub=',
        "        with self.index.transaction():\n            self.index.executemany(\n"
        '                "UPDATE record SET sub=',
        "tests/interop/test_durability.py::test_first_sync_is_durable_in_groups",
    ),
    Breakage(
        "contents are noted before they are durable",
        "replicate/received.py",
        "        store.vault.syncer.sync()\n",
        "",
        "tests/interop/test_durability.py::test_first_sync_is_durable_in_groups",
    ),
    Breakage(
        "the journal is not replayed",
        "store/store.py",
        "            if not dry and store.journal():\n",
        "            if False:\n",
        "tests/crash/test_crash_points.py::test_a_crash_at_any_step_costs_a_repeat_and_nothing_else",
    ),
    Breakage(
        "a file is removed without a look whether it is the one that was meant",
        "store/apply.py",
        "        if not (\n            ours\n",
        "        if not (\n            True or ours\n",
        "tests/crash/test_disbelief.py::test_a_file_that_took_the_place_of_the_one_to_be_removed_stays",
    ),
    Breakage(
        "what a crash left of a removal is forgotten",
        "store/apply.py",
        "            if not (self.replay and _exists(aside, trash)):\n",
        "            if True:\n",
        "tests/crash/test_disbelief.py::test_a_removal_that_was_cut_off_leaves_nothing_in_tmp_and_takes_no_other_file",
    ),
    Breakage(
        "a rename overwrites",
        "system/fs.py",
        "target_fd, target, RENAME_NOREPLACE) == 0",
        "target_fd, target, 0) == 0",
        "tests/unit/system/test_fs.py::test_a_rename_never_overwrites",
    ),
    Breakage(
        "one listing is enough",
        "store/removals.py",
        "            still[no] = {r: at for r, at in files.items() if at[0] in bases}\n",
        "            still[no] = dict(files)\n",
        "tests/crash/test_disbelief.py::test_a_file_that_one_listing_lacks_and_the_next_has_is_there",
    ),
    Breakage(
        "a listing beside a busy mail program counts as quiet",
        "store/removals.py",
        "            quiet = before == after == self.findings.stamps.get(no)\n",
        "            quiet = True\n",
        "tests/crash/test_disbelief.py::test_a_second_listing_beside_a_busy_program_proves_nothing",
    ),
    Breakage(
        "a mailbox that cannot be read is one that is gone",
        "store/survey.py",
        "        self.findings.unseen.append(box.name)\n        return True\n",
        "        return False\n",
        "tests/crash/test_disbelief.py::test_a_mailbox_that_a_survey_lacks_and_that_is_there_is_not_gone",
    ),
    Breakage(
        "an inode proves a move",
        "store/reading.py",
        "        if there is None or not fs.is_same(there, found.st):\n            return False\n",
        "        if there is None:\n            return False\n",
        "tests/crash/test_disbelief.py::test_an_inode_that_another_file_got_is_no_move",
    ),
    Breakage(
        "a file with another link somewhere counts as removed",
        "store/removals.py",
        "        if there.st_nlink - 1 <= known:\n",
        "        if True:\n",
        "tests/crash/test_disbelief.py::test_a_file_that_has_another_name_somewhere_is_not_removed",
    ),
    Breakage(
        "a file that was young is not looked at again",
        "store/reading.py",
        "                found.young = 1\n            if not self._prove(found):\n",
        "                found.young = 0\n            if not self._prove(found):\n",
        "tests/crash/test_disbelief.py::test_a_message_completed_after_it_was_seen_is_looked_at_again",
    ),
    Breakage(
        "the marker's generation is not compared",
        "store/store.py",
        "        if generation == ours:\n            self._confirm_marker()\n",
        "        if True:\n            self._confirm_marker()\n",
        "tests/crash/test_review_store.py::test_a_run_that_only_opened_the_store_does_not_use_up_the_distrust_of_a_backup",
    ),
    Breakage(
        "the marker's store is not compared",
        "store/store.py",
        "        if store != self.id:\n            raise marker.foreign(self.root)\n        ours",
        "        ours",
        "tests/cli/test_errors.py::test_the_marker_is_another_stores",
    ),
    Breakage(
        "the guard never holds",
        "rules/guard.py",
        "    if gone > limits.count:\n",
        "    if True:\n        return {}\n    if gone > limits.count:\n",
        "tests/property/test_maildirs_machine.py::test_many_deletions_wait_for_an_answer",
    ),
    Breakage(
        "what vanished before does not count",
        "rules/guard.py",
        "    gone = now + sum(t.lately for t in counted.values())\n",
        "    gone = now\n",
        "tests/crash/test_mass_deletion.py::test_bled_over_many_runs_by_a_program",
    ),
    Breakage(
        "what a peer lays down has effect at once",
        "store/annotations.py",
        "        if has != had and not _is_safer(ledger, box, key, had, has, now):\n",
        "        if False:\n",
        "tests/property/test_pending.py::test_no_peer_makes_less_be_kept",
    ),
    Breakage(
        "a later expiry with other exceptions passes for a safer one",
        "rules/annotations.py",
        "    if old.by != new.by or old.keep_flagged > new.keep_flagged or old.keep_unread > new.keep_unread:\n        return False\n",
        "",
        "tests/property/test_safer.py::test_a_safer_rule_of_expiry_expires_nothing_that_the_old_one_kept",
    ),
    Breakage(
        "a mailbox loses a legal hold by another name",
        "store/merge.py",
        "            keep_legal_holds(self.ledger, legal_holds, self.now)\n",
        "            del keep_legal_holds\n",
        "tests/hostile/test_annotations.py::test_no_mailbox_loses_a_legal_hold_by_another_name",
    ),
    Breakage(
        "annotations are in no digest",
        "store/ledger.py",
        "    return mailbox_digest(box.sum, box.name if name is None else name, box.validity, annotations)\n",
        "    return mailbox_digest(box.sum, box.name if name is None else name, box.validity)\n",
        "tests/hostile/test_annotations.py::test_an_annotation_that_one_side_lost_is_found_by_comparison",
    ),
    Breakage(
        "a peer that may only add lays something down",
        "rules/additions.py",
        "            if register.value != before:\n",
        "            if False:\n",
        "tests/hostile/test_annotations.py::test_a_peer_that_may_only_add_lays_nothing_down",
    ),
    Breakage(
        "an approval covers whatever comes later",
        "store/holds.py",
        "    return approved is not None and approved.value == record.regs[LIVE].rank\n",
        "    return approved is not None\n",
        "tests/crash/test_mass_deletion.py::test_an_approval_does_not_cover_a_later_deletion_of_the_same_mail",
    ),
    Breakage(
        "an approval of all covers what nobody has seen",
        "cli/holds.py",
        "    seen = rules.holds(ledger, shown)\n",
        "    seen = rules.holds(ledger)\n",
        "tests/cli/test_what_was_shown.py::test_approve_all_leaves_what_came_after_the_holds_were_shown",
    ),
    Breakage(
        "a hold gets the number of one that was answered",
        "store/holds.py",
        '    meta["hold"] = number\n',
        "",
        "tests/cli/test_what_was_shown.py::test_the_only_hold_is_another_one_than_that_which_was_shown",
    ),
    Breakage(
        "mail that is rewritten under its own Message-ID is never held",
        "store/rewritten.py",
        "        return self.judged(count, {no: -n for no, n in count.items()})  # each counts twice",
        "        return {}  # each counts twice",
        "tests/crash/test_mass_deletion.py::test_mail_that_was_rewritten_in_bulk_under_its_own_message_ids_is_held",
    ),
    Breakage(
        "the responder puts files in place before it says that it committed",
        "replicate/responder.py",
        "        self.said_first = True\n",
        "",
        "tests/crash/test_both_apply.py::test_the_initiator_has_done_before_the_responder_applies",
    ),
    Breakage(
        "what is held there is told of only where there is news",
        "replicate/responder.py",
        ", held=self.waiting()))",
        "))",
        "tests/cli/test_held_there.py::test_what_the_far_scan_held_is_said_here",
    ),
    Breakage(
        "the vector is advanced before anything is merged",
        "replicate/endpoint.py",
        "        self.since = self.index.known_seq(self.peer, self.claim.vector)\n",
        "        self.since = self.index.known_seq(self.peer, self.claim.vector)\n"
        "        for who, lamport in self.claim.vector.items():\n"
        "            self.index.vector[who] = max(lamport, self.index.vector.get(who, 0))\n",
        "tests/property/test_merge_agrees_with_oracle.py::test_histories",
    ),
    Breakage(
        "a content that both deleted elsewhere is not revived",
        "store/merge.py",
        "            if ledger.is_live(content):\n                continue\n            content_id",
        "            if True:\n                continue\n            content_id",
        "tests/property/test_merge_agrees_with_oracle.py::test_histories",
    ),
    Breakage(
        "the older write wins",
        "domain/record.py",
        "        return a if a.rank > b.rank else b\n",
        "        return b if a.rank > b.rank else a\n",
        "tests/property/test_merge_agrees_with_oracle.py::test_histories",
    ),
    Breakage(
        "a UID that a peer shows for another message is kept",
        "store/merge.py",
        "            if uid < self.free.get(mailbox, 1):\n",
        "            if False:\n",
        "tests/property/test_merge_agrees_with_oracle.py::test_histories",
    ),
    Breakage(
        "a store that went back in time goes on under its old id",
        "rules/identity.py",
        "    return out[0], out[1]\n",
        "    return False, False\n",
        "tests/crash/test_time_travel.py::test_a_side_from_yesterday_is_a_new_replica_and_gives_no_uid_a_second_meaning",
    ),
    Breakage(
        "received bytes are not hashed",
        "store/keeper.py",
        "    if sha256(data).digest() != content_id:\n",
        "    if False:\n",
        "tests/crash/test_keeper.py::test_other_bytes_than_announced_are_not_kept_and_the_rest_is",
    ),
    Breakage(
        "contents leave the vault unchecked",
        "replicate/endpoint.py",
        "        if sha256(data).digest() != content_id:\n",
        "        if False:\n",
        "tests/crash/test_keeper.py::test_a_damaged_object_is_not_sent_and_the_rest_is",
    ),
    Breakage(
        "a peer may have any content",
        "replicate/endpoint.py",
        "            if everything or self.view.shows(self.ledger.boxes[mailbox])\n",
        "            if True\n",
        "tests/hostile/test_lies.py::test_only_what_a_live_record_refers_to_is_given",
    ),
    Breakage(
        "two runs at once",
        "system/lock.py",
        "LOCK_EX | fcntl.LOCK_NB",
        "LOCK_SH | fcntl.LOCK_NB",
        "tests/crash/test_at_once.py::test_two_runs_started_at_any_moment",
    ),
    Breakage(
        "what a backup gives is not hashed again",
        "store/restore.py",
        "            if sha256(data).digest() != content_id:\n",
        "            if False:\n",
        "tests/crash/test_restore_from.py::test_a_backup_that_changes_meanwhile_gives_what_it_still_has",
    ),
    Breakage(
        "what is restored is noted before it is durable",
        "store/restore.py",
        "        self.store.vault.syncer.sync()\n",
        "",
        "tests/crash/test_restore_from.py::test_contents_are_durable_before_a_record_relies_on_them",
    ),
    Breakage(
        "one content's messages are restored in several transactions",
        "store/restore.py",
        "            if group and _key(group[0]) != _key(found):\n",
        "            if group:\n",
        "tests/crash/test_restore_from.py::test_cut_off_between_any_two_batches_copies_in_several_mailboxes_stay_together",
    ),
    Breakage(
        "what an mbox changed is taken for another message",
        "store/missing.py",
        "        if found.state == MISSING and item.message_id:\n",
        "        if False:\n",
        "tests/cli/test_missing.py::test_a_message_that_an_mbox_changed_is_matched_and_not_doubled",
    ),
    Breakage(
        "what was removed on purpose is restored unasked",
        "store/restore.py",
        "        if deleted_too:\n",
        "        if True:\n",
        "tests/crash/test_restore_from.py::test_what_was_removed_on_purpose_stays_until_it_is_asked_for",
    ),
    Breakage(
        "a file of a backup is taken for unchanged by its size and mtime alone",
        "store/foreignmaildir.py",
        "had[1] == st.st_mtime_ns and had[2] == st.st_ctime_ns and",
        "had[1] == st.st_mtime_ns and",
        "tests/unit/store/test_foreign.py::test_a_file_whose_times_were_set_back_is_read",
    ),
    Breakage(
        "a row of the header cache is believed for whatever content has its number now",
        "store/headers.py",
        "        return row is not None and row[0][:CHECK_BYTES] == check\n",
        "        return row is not None\n",
        "tests/unit/store/test_headers.py::test_contents_that_are_gone_and_numbers_that_mean_another_content",
    ),
    Breakage(
        "what was begun to be freed is not noted",
        "store/cleanup.py",
        "= packb([c.content_id for c in batch]), None",
        "= None, None",
        "tests/crash/test_expiry.py::test_a_content_that_came_back_before_its_object_went_stays",
    ),
    Breakage(
        "what came back is freed all the same",
        "store/cleanup.py",
        "        self._drop([content_id for content_id in wanted if not self._is_kept(content_id)])\n",
        "        self._drop(wanted)\n",
        "tests/crash/test_expiry.py::test_a_content_that_came_back_before_its_object_went_stays",
    ),
    Breakage(
        "a legal hold keeps only what nobody removed",
        "store/cleanup.py",
        "            legal = self._legal(rows)\n            candidates = []\n",
        "            legal: set[int] = set()\n            candidates = []\n",
        "tests/crash/test_expiry.py::test_a_legal_hold_wins_over_rule_hand_and_retention",
    ),
    Breakage(
        "a tombstone is forgotten though a replica has not heard of it",
        "store/cleanup.py",
        "if row[0] not in legal and has(row[2])",
        "if row[0] not in legal",
        "tests/crash/test_expiry.py::test_a_tombstone_waits_for_every_replica_that_ever_had_the_message",
    ),
    Breakage(
        "a shorter retention counts for what is expunged already",
        "rules/expiry.py",
        "    return max(keep, gone + retention)\n",
        "    return gone + retention\n",
        "tests/crash/test_expiry.py::test_a_longer_retention_counts_at_once_and_a_shorter_one_does_not",
    ),
    Breakage(
        "a clock that jumped stops nothing",
        "store/expire.py",
        "        report.stopped = self._stopped()\n",
        "",
        "tests/crash/test_expiry.py::test_a_clock_that_jumped_stops_both_passes",
    ),
    Breakage(
        "what is due is judged in slices",
        "store/expire.py",
        "        reasons = expiring.judge(found)\n",
        "        reasons = expiring.judge(found[: self.bounds.messages or len(found)])\n",
        "tests/crash/test_expiry.py::test_what_is_expunged_by_slices_is_judged_as_a_whole",
    ),
    Breakage(
        "an index from a backup believes kept what was freed since",
        "store/cleanup.py",
        "if vault.stat(content_id) is None]",
        "if False]",
        "tests/crash/test_expiry.py::test_after_an_index_came_from_a_backup_nothing_that_was_freed_since_is_believed_kept",
    ),
    Breakage(
        "a peer's word is taken for what it holds",
        "replicate/prove.py",
        "            if proof and proof == proof_of(self.vault, self._nonce, content_id):\n",
        "            if proof:\n",
        "tests/hostile/test_prove.py::test_who_does_not_have_the_bytes_shows_nothing",
    ),
)
