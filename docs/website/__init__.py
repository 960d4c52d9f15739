"The documentation site: notebooks, API, results and the explorer, built offline (make site)."
