"""Which test runs a block of the documentation, or compares it with something that runs.

For each page its blocks in their order: a test by its file in tests/ and its name, or why there is
none. The test names the page, or gets its blocks from a module that does.
"""

#: How a reason begins.
CANNOT = "cannot run: "

_TOUR = "project/test_documentation.py::test_the_quick_tour_works_line_by_line"
_PUSHED = "project/test_documentation.py::test_what_is_pushed_from_code_is_heard"
_PROGRAMS = "rpc/test_clients.py::test_an_example_of_the_documentation_pushes"
_COMMANDS = "project/test_readme.py::test_the_project_is_set_up_and_tested_by_the_two_commands"
_ADDED = "project/test_readme.py::test_its_lines_add_broadcast_to_a_project"
_EMBEDDED = "browser/embedding/test_pages.py::test_"
_DEPLOYED = "project/test_deployment.py::test_"
_SNIPPET = "project/test_documentation.py::test_"
_TESTING = "testing/test_examples.py::test_the_examples_work_with_pytest"

CLAIMS: dict[str, list[str]] = {
    "README": [
        f"{_COMMANDS}_it_names",
        f"{_COMMANDS}_it_names",
        "project/test_readme.py::test_what_its_lines_publish_they_hear",
        "project/test_readme.py::test_its_template_has_the_element",
        _ADDED,
        _ADDED,
        _ADDED,
    ],
    "CONTRIBUTING": [f"{CANNOT}a fresh clone, and the whole suite"],
    "tour": [_TOUR] * 4,
    "testing": [_TESTING] * 8,
    "install": [
        "project/test_install_guide.py"
        "::test_every_block_is_a_file_of_the_project_or_is_looked_at_here",
    ]
    * 12,
    "tutorial": [
        "project/test_tutorial.py::test_it_leads_from_an_empty_folder_to_two_workers",
    ]
    * 28,
    "how-to/languages": [
        "browser/embedding/test_element.py"
        "::test_it_speaks_the_language_of_the_page_elsewhere_as_documented",
    ],
    "how-to/push": [_PUSHED] * 4,
    "how-to/push-from-programs": [_PROGRAMS] * 6,
    "how-to/pages": [
        f"{_SNIPPET}the_views_and_the_handler_of_page_sockets_work",
        "browser/test_page_socket.py"
        "::test_the_elements_of_the_documentation_show_what_comes_and_its_form_calls",
        "browser/test_page_socket.py::test_the_module_of_the_documentation_hears_and_calls",
        f"{_SNIPPET}the_views_and_the_handler_of_page_sockets_work",
        f"{_SNIPPET}the_view_of_the_example_is_the_whole_of_its_module",
    ],
    "how-to/private-streams": [f"{_SNIPPET}tokens_are_made_and_withdrawn_as_documented"] * 2,
    "how-to/embed": [
        f"{_SNIPPET}the_tags_of_the_documentation_render",
        f"{_EMBEDDED}the_example_of_the_documentation_works_in_a_page_of_a_site_that_is_allowed",
        f"{_EMBEDDED}the_frame_of_the_documentation_works_in_a_page_of_any_site",
    ],
    "how-to/video": [
        "project/test_publish_media.py::test_what_ffmpeg_writes_into_a_pipe_is_broadcast",
        f"{_EMBEDDED}the_player_of_the_documentation_has_the_place_of_a_picture_elsewhere",
        "project/test_publish_media.py::test_what_ffmpeg_writes_into_a_pipe_is_broadcast",
    ],
    "how-to/rooms": [
        f"{_SNIPPET}the_servers_of_rooms_are_set_as_documented",
        f"{_SNIPPET}tokens_of_rooms_are_made_as_documented",
        f"{_SNIPPET}the_event_of_ones_own_is_answered_in_rooms",
    ],
    "how-to/deploy": [
        "project/test_production.py"
        "::test_the_documented_environment_is_one_that_django_has_nothing_to_say_of",
        "project/test_production.py::test_of_the_documented_settings_it_has_nothing_to_say_either",
        f"{_DEPLOYED}uvicorn_serves_as_documented",
    ],
    "how-to/nginx": [
        f"{_DEPLOYED}the_nginx_site_is_whole",
        f"{_DEPLOYED}nginx_and_server_and_systemd_mean_the_same_unix_socket",
        f"{_DEPLOYED}nginx_and_server_and_systemd_mean_the_same_unix_socket",
    ],
    "how-to/proxies": [f"{_DEPLOYED}the_documented_proxies_are_taken"] * 2,
    "how-to/systemd": [
        f"{CANNOT}a user of the system",
        f"{_DEPLOYED}every_environment_is_that_of_production",
        f"{_DEPLOYED}the_units_of_systemd_are_sound",
        f"{CANNOT}systemd",
        f"{_DEPLOYED}the_units_of_systemd_are_sound",
        f"{_DEPLOYED}the_units_of_systemd_are_sound",
        f"{CANNOT}systemd",
    ],
    "how-to/docker": [
        f"{_DEPLOYED}the_image_starts_commands_that_there_are",
        f"{_DEPLOYED}every_environment_is_that_of_production",
    ],
    "how-to/kubernetes": [
        f"{_DEPLOYED}the_pods_ask_and_start_what_there_is",
        f"{_DEPLOYED}kubectl_is_told_of_what_the_manifests_have",
    ],
    "how-to/several-servers": [
        f"{_DEPLOYED}every_command_is_one_with_these_arguments",
        "backends/test_redis_unfit.py::test_the_rights_that_the_documentation_names_are_enough",
    ],
    "how-to/sentinel": [f"{_DEPLOYED}the_addresses_of_redis_are_some"],
    "how-to/managed-redis": [f"{_DEPLOYED}the_addresses_of_redis_are_some"],
    "how-to/monitor": [
        f"{_DEPLOYED}what_a_ready_server_answers_is_shown",
        f"{_DEPLOYED}a_project_of_its_own_has_the_probes_as_documented",
        f"{_DEPLOYED}prometheus_asks_where_metrics_are",
    ],
    "reference/python": [f"{_SNIPPET}the_imports_of_the_reference_work"] * 2,
    "reference/http": [
        f"{_SNIPPET}the_examples_of_the_http_api_work",
        f"{_SNIPPET}the_examples_of_the_http_api_work",
        "browser/test_events.py::test_the_lines_of_the_documentation_hear_with_the_position",
    ],
    "reference/page-socket": [
        "browser/test_page_socket.py::test_the_documented_lines_open_a_socket_that_hears_a_push"
    ],
}
