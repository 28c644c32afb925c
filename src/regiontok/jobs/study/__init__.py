"""The study: settings trained and asked, with seeds, and what the findings look like here."""
