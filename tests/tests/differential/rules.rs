//! How Resgate 1.8 behaves, rule by rule, and the scripts that show it.

/// A rule, and the names of its scripts.
pub(crate) type Rule = (&'static str, &'static [&'static str]);

/// What a client's frames may be.
const FRAMES: &[Rule] = &[
    (
        "malformed JSON and ids that are not 64-bit numbers are ignored, and the socket stays open",
        &[
            "malformed_frames_are_ignored",
            "requests_with_members_that_are_not_known",
            "a_method_that_is_no_string",
            "frames_other_than_requests",
        ],
    ),
    ("binary frames are taken as text", &["binary_frames_are_taken_as_text"]),
    ("of members with the same name the last one counts", &["a_frame_with_a_name_twice", "a_name_that_comes_twice"]),
    (
        "a bad method is an invalid request",
        &["bad_methods_are_invalid_requests", "names_of_letters_that_are_not_plain"],
    ),
    (
        "a bad version has invalid parameters, another major one is not supported, and the answer is 1.2.3",
        &["versions", "a_version_below_nothing"],
    ),
    (
        "before a version, results of methods come raw, and soft references and data as plain values",
        &[
            "before_a_version_results_come_raw",
            "since_a_version_results_come_wrapped",
            "version_1_1_1_is_as_none",
            "old_clients_get_soft_references_and_data_as_strings",
        ],
    ),
    ("a nil result is left out", &["a_nil_result_is_left_out"]),
    ("what a client has already is not sent again", &["what_a_client_has_already_is_not_sent_again", "subscriptions"]),
];

/// What services are asked, and how they may answer.
const REQUESTS: &[Rule] = &[
    (
        "access, call and auth carry token and cid; queries where there are any; params, or null",
        &[
            "access_call_and_auth_carry_token_and_cid",
            "queries_are_passed_on_where_there_are_any",
            "params_of_every_kind_are_passed_on",
            "params_left_out_are_null",
            "methods",
        ],
    ),
    (
        "auth carries headers, host, address and URI of the request that opened the connection",
        &["the_header_method_is_called_before_the_upgrade", "the_header_method_by_http"],
    ),
    (
        "get carries the query alone, and is asked at the same time as access",
        &["get_carries_nothing_but_the_query", "get_is_asked_at_the_same_time_as_access"],
    ),
    (
        "no answer is a timeout, and a later one is thrown away",
        &[
            "no_answer_is_a_timeout",
            "a_get_that_times_out",
            "a_get_that_times_out_is_asked_again",
            "a_late_answer_is_thrown_away",
        ],
    ),
    ("no responder is not found, at once", &["nobody_there_is_not_found_at_once"]),
    (
        "an answer that begins with a letter is a pre-response, which restarts the clock",
        &[
            "a_pre_response_starts_the_clock_anew",
            "a_pre_response_may_shorten_the_time",
            "pre_responses_of_other_kinds",
            "an_answer_that_begins_with_a_letter_is_none",
        ],
    ),
    (
        "an answer that cannot be read is an internal error; arrays are no objects",
        &["answers_that_are_none", "members_in_upper_case", "contents_that_are_none", "arrays_are_not_objects"],
    ),
    ("errors come through as they are", &["errors_are_passed_on", "the_data_of_an_error_that_json_values_cannot_hold"]),
    (
        "values come through as they were written",
        &[
            "values_of_every_kind",
            "values_that_are_none",
            "values_of_two_kinds",
            "changes_of_two_kinds",
            "values_pass_verbatim",
            "references_pass_verbatim",
            "collections_pass_verbatim",
        ],
    ),
    (
        "services see the cid in names and queries, clients the tag",
        &["the_cid_stands_in_names_and_queries", "cids_in_odd_places", "a_reference_with_the_cid"],
    ),
    (
        "a result may be a resource, which is subscribed to; new is always one",
        &["what_a_call_returns_as_a_resource", "a_resource_that_is_none", "new_wants_a_reference"],
    ),
    ("subjects have a longest length", &["a_subject_that_is_too_long"]),
];

/// What clients may do.
const ACCESS: &[Rule] = &[
    (
        "access is kept for a connection and a resource, results and denials alone",
        &[
            "access_is_kept_for_a_connection_and_a_resource",
            "a_denial_is_kept",
            "other_errors_of_access_are_not_kept",
            "a_subscription_without_get",
            "methods_are_named_one_by_one",
            "access_answers_that_are_none",
            "access_of_odd_forms",
            "auth_needs_no_access",
        ],
    ),
    (
        "a reaccess drops it, and each direct subscription asks again",
        &[
            "a_reaccess_asks_for_each_direct_subscription",
            "a_reaccess_drops_what_calls_know",
            "an_access_answer_from_before_a_reaccess",
            "a_reaccess_of_a_query_resource",
            "references_need_no_access",
            "access_and_its_recheck",
        ],
    ),
    (
        "so does a reset of access",
        &["a_reset_of_access_asks_again", "a_reset_of_access_drops_what_calls_know", "a_reset_of_resources_and_access"],
    ),
    (
        "and a token, also an identical one; in Resgate not a connection's first",
        &[
            "a_token_drops_what_calls_know",
            "a_token_asks_again_for_direct_subscriptions",
            "the_first_token_drops_what_calls_know",
            "the_first_token_asks_again_for_direct_subscriptions",
            "tokens",
        ],
    ),
    (
        "that resource's events wait for the answer, and others' do not",
        &["events_wait_for_the_answer", "events_of_others_do_not_wait_for_the_answer"],
    ),
    (
        "a denial unsubscribes with its reason",
        &[
            "a_denial_unsubscribes",
            "an_error_of_access_unsubscribes_with_it",
            "a_timeout_of_access_unsubscribes",
            "a_denial_keeps_what_is_referred_to",
            "a_token_that_denies",
        ],
    ),
];

/// Tokens.
const TOKENS: &[Rule] = &[
    ("a token applies before later answers", &["a_token_applies_before_later_answers"]),
    (
        "a token is any value, and null takes it away",
        &[
            "tokens_of_every_kind",
            "token_events_of_odd_forms",
            "token_events_that_are_none",
            "a_token_taken_away_by_null",
        ],
    ),
    (
        "a token reset asks each connection with such a tid, without params, and drops the answer",
        &[
            "a_token_reset_asks_whoever_has_the_tid",
            "a_token_reset_may_bring_a_token",
            "a_token_without_a_tid_has_none",
            "token_resets_that_are_none",
            "a_tid_that_comes_twice",
        ],
    ),
];

/// Events, references and their order.
const EVENTS: &[Rule] = &[
    ("answers and events of a resource keep their order", &["answers_and_events_of_a_resource_keep_their_order"]),
    (
        "models change, collections add and remove, and what is no such event is dropped",
        &[
            "models_and_collections",
            "changes_that_are_none",
            "a_change_with_a_member_that_is_not_known",
            "changes_of_a_collection_and_adds_to_a_model",
            "adds_and_removes",
            "adds_and_removes_that_are_none",
            "an_index_that_is_left_out_is_zero",
        ],
    ),
    (
        "custom events pass as they are",
        &["custom_events_pass_as_they_are", "names_of_events", "events_that_services_must_not_send"],
    ),
    (
        "a deletion is told with its payload, and unsubscribes",
        &[
            "a_deletion_unsubscribes",
            "a_deletion_with_a_payload",
            "a_delete_event_has_its_payload",
            "a_deletion_whose_payload_is_no_json",
            "a_deletion_of_what_is_referred_to",
            "a_deleted_resource_that_is_still_referred_to",
        ],
    ),
    (
        "a change that changes nothing is not sent on",
        &["a_change_that_changes_nothing_is_not_sent_on", "a_data_value_in_other_order"],
    ),
    (
        "new references are loaded first, and the events behind them wait; others' do not",
        &[
            "new_references_are_loaded_first",
            "references_of_others_do_not_wait",
            "a_reference_that_comes_and_goes_while_it_is_loaded",
            "references_of_one_are_asked_for_at_once",
            "references",
        ],
    ),
    (
        "references are counted, cycles and shared ones too; soft ones are not followed",
        &[
            "a_cycle_is_counted",
            "an_unsubscribe_keeps_what_is_still_referred_to",
            "a_reference_that_comes_twice",
            "a_resource_that_refers_to_itself",
            "a_deep_tree",
            "soft_references_are_not_followed",
            "a_resource_that_comes_back",
            "a_reference_to_itself_that_goes",
            "a_reference_that_goes_within_a_cycle",
            "what_a_client_has_is_not_sent_again_as_it_was",
        ],
    ),
    (
        "unsubscribe takes a count, and more than there are is no subscription; at most 256",
        &[
            "counts_of_subscriptions",
            "a_get_does_not_subscribe",
            "a_subscription_that_is_given_up_while_it_is_loaded",
            "at_most_256_subscriptions_of_one_connection_to_one_resource",
        ],
    ),
    (
        "resources are shared, and kept for a while",
        &[
            "another_client_gets_what_is_cached",
            "a_resource_that_is_wanted_again_soon",
            "a_query_resource_that_is_wanted_again_soon",
        ],
    ),
];

/// Resets, and resources with queries.
const RESETS: &[Rule] = &[
    (
        "a reset fetches what matches again, and sends the difference",
        &[
            "a_reset_of_a_model_is_sent_as_a_change",
            "a_reset_of_a_collection_is_sent_as_adds_and_removes",
            "a_reset_without_a_difference",
            "a_reset_that_fails_changes_nothing",
            "a_reset_to_another_kind",
            "an_event_after_the_answer_of_a_reset",
            "an_event_while_a_reset_is_under_way",
            "a_reset_brings_references_that_are_loaded_first",
            "a_reset_of_a_referred_resource",
            "a_reset_of_query_resources",
            "resets",
        ],
    ),
    ("not found is a deletion then", &["a_reset_of_what_is_gone_deletes"]),
    (
        "patterns have wildcards for a part, and for all parts that follow",
        &["patterns_of_resets", "patterns_that_are_none"],
    ),
    (
        "queries with one normal form share an entry",
        &[
            "queries_with_one_normal_form_share_an_entry",
            "query_resources",
            "a_query_that_is_empty",
            "a_query_with_question_marks",
            "a_normal_form_that_is_empty",
            "a_spelling_that_is_loaded_before_the_normal_form",
        ],
    ),
    (
        "a query event's subject is asked once for each of them",
        &[
            "a_query_event_asks_once_for_each_normal_form",
            "an_answer_to_a_query_event_may_be_all_of_it",
            "a_query_event_brings_references",
            "events_behind_a_query_event_wait",
            "a_query_event_that_is_not_answered",
            "query_events_of_odd_forms",
            "a_query_event_that_is_answered_by_an_error",
            "a_query_that_is_given_up",
            "a_reference_with_a_query",
            "a_query_resource_has_no_plain_events",
        ],
    ),
    (
        "a plain resource by a query gets the events of its name",
        &["a_query_on_a_plain_resource_gets_its_events", "plain_resources_by_a_query"],
    ),
];

/// How WebSockets are opened.
const OPENING: &[Rule] = &[
    ("origins: all, or a list; pages without one", &["origins_of_all", "one_origin", "a_null_origin"]),
    (
        "WebSockets have one path, and everything else is elsewhere",
        &[
            "the_path_of_the_websocket",
            "the_path_by_default",
            "http_where_the_websocket_is",
            "what_is_asked_of_the_server_as_a_whole",
            "an_upgrade_of_another_version",
        ],
    ),
    (
        "the header method is called before the upgrade, and its token counts from then on",
        &["the_header_method_gives_a_token", "an_error_of_the_header_method_does_not_stop_the_upgrade"],
    ),
    (
        "a status in meta answers in place of the upgrade",
        &["a_meta_status_answers_in_place_of_the_upgrade", "a_meta_status_that_is_none", "meta_headers_of_a_refusal"],
    ),
    (
        "headers in meta go into the upgrade, but for those of the handshake",
        &["meta_headers_go_into_the_upgrade", "handshake_headers_of_a_service"],
    ),
];

/// The HTTP API, and options.
const HTTP: &[Rule] = &[
    (
        "GET and HEAD get a resource with what it refers to, in one of two encodings",
        &[
            "encodings_json",
            "encodings_flat",
            "a_resource_that_comes_twice",
            "resources_by_http",
            "heads_by_http",
            "heads_and_bodies_by_http",
            "queries_by_http",
            "where_a_resource_with_a_query_is",
        ],
    ),
    (
        "POST calls a method: its result, 204 for null, or 200 with Location",
        &["methods_by_http", "results_of_calls_by_http", "bodies_of_posts"],
    ),
    (
        "PUT, PATCH and DELETE call what they are mapped to, or are not allowed",
        &["methods_that_are_mapped", "methods_that_are_not_mapped", "http_requests_that_are_refused"],
    ),
    (
        "paths begin with that of the API, and have no empty parts or dots",
        &[
            "the_path_of_the_api",
            "paths_of_nothing",
            "paths_that_are_none",
            "a_path_that_cannot_be_decoded",
            "a_part_that_is_decoded_to_a_dot",
        ],
    ),
    (
        "OPTIONS and responses tell pages of other origins what they may",
        &[
            "options_by_http",
            "options_of_mapped_methods",
            "options_for_origins",
            "cors_of_all_origins",
            "cors_of_one_origin",
            "a_forbidden_origin_by_http",
            "credentials_are_for_named_origins",
        ],
    ),
    ("errors have statuses", &["statuses_of_errors", "errors_of_get_by_http", "a_timeout_by_http"]),
    (
        "services say status and headers in meta",
        &["meta_of_access_by_http", "meta_of_calls_by_http", "what_services_say_about_http_responses"],
    ),
    (
        "the header method is called for each request, which is a connection of its own",
        &[
            "the_header_method_gives_a_token_by_http",
            "the_header_method_answers_by_http",
            "each_http_request_is_a_connection",
        ],
    ),
    (
        "resets and references may be throttled",
        &[
            "a_reset_asks_for_two_at_a_time",
            "a_reset_asks_for_access_two_at_a_time",
            "what_else_asks_for_access_is_not_throttled",
            "references_are_followed_two_at_a_time",
            "references_are_followed_two_at_a_time_by_http",
            "references_of_references_take_turns_too",
            "references_of_an_event_take_turns",
            "a_reference_that_cannot_be_loaded_gives_its_turn_to_one_other",
            "a_reference_that_times_out_gives_its_turn_to_one_other",
            "references_to_what_is_cached_take_no_turn",
            "a_resource_that_is_referred_to_twice_takes_one_turn",
            "what_clients_ask_for_themselves_takes_no_turn_of_references",
            "references_of_two_connections_have_turns_of_their_own",
            "references_of_several_subscribes_share_the_turns_of_their_connection",
            "what_waits_as_a_reference_is_loaded_at_once_for_others",
            "references_that_nobody_wants_any_more_are_not_asked_for",
        ],
    ),
    (
        "messages are compressed where both sides want it, and say the same",
        &[
            "what_is_agreed_on",
            "without_the_option_nothing_is_agreed_on",
            "a_window_that_is_asked_of_the_server",
            "large_messages_are_compressed",
            "large_messages_for_several_clients",
            "many_messages",
            "credentials_arrive_however_they_are_sent",
        ],
    ),
    ("messages may come in frames", &["compressed_messages_in_frames", "messages_in_frames"]),
    ("metrics have the same names and counts", &["metrics_of_both"]),
];

/// All rules.
pub(crate) const ALL: &[&[Rule]] = &[FRAMES, REQUESTS, ACCESS, TOKENS, EVENTS, RESETS, OPENING, HTTP];
