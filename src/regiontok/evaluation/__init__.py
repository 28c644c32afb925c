"""What every benchmark needs: how questions are asked, and how answers are read and scored."""
